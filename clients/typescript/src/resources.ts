/**
 * The calls that read and manage models and stored conversations.
 */
import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";

import type { CallOptions } from "./call.js";
import type { Caller } from "./caller.js";
import {
  ConversationSchema,
  type Conversation as StoredConversation,
} from "./gen/dashgate/v1/conversation_pb.js";
import { ConversationService } from "./gen/dashgate/v1/conversation_service_pb.js";
import { ModelSchema, type Model } from "./gen/dashgate/v1/model_pb.js";
import { ModelService } from "./gen/dashgate/v1/model_service_pb.js";
import type { Turn } from "./gen/dashgate/v1/stored_turn_pb.js";
import type { ListModelsOptions } from "./settings.js";

/** What a stored conversation has besides its turns. */
export interface StoredFields {
  /** The model of calls that name none. */
  readonly model?: string | undefined;
  /** Labels, which the gateway does not interpret. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** How long it is kept after its latest turn or update, in seconds. Default: the gateway's. */
  readonly ttlSeconds?: number | undefined;
}

/** Options of `createConversation`. */
export interface CreateConversationOptions extends CallOptions, StoredFields {
  /** The part of the name after `conversations/`. Default: one that the gateway generates. */
  readonly id?: string | undefined;
}

/** Options of `updateConversation`: what is not set stays. */
export interface UpdateConversationOptions extends CallOptions, StoredFields {}

/** Options of `listConversations`. */
export interface ListConversationsOptions extends CallOptions {
  /** How many conversations are fetched at once. Default: the gateway's page size. */
  readonly pageSize?: number | undefined;
}

/** Options of `listTurns`. */
export interface ListTurnsOptions extends CallOptions {
  /** Whether to begin with the latest turn. Default: false. */
  readonly newestFirst?: boolean | undefined;
  /** Whether to return media as bytes. Default: false; they are empty then. */
  readonly includeMedia?: boolean | undefined;
  /** How many turns are fetched at once. Default: the gateway's page size. */
  readonly pageSize?: number | undefined;
}

/** Options of `forkConversation`. */
export interface ForkConversationOptions extends CallOptions {
  /** The number of the last turn to copy. Default: all of the history. */
  readonly lastTurn?: number | undefined;
  /** The id of the new conversation. Default: one that the gateway generates. */
  readonly id?: string | undefined;
}

const METHODS = ConversationService.method;

/** The calls for models and stored conversations. */
export abstract class ResourceClient {
  /** @internal */
  protected readonly caller: Caller;

  /** @internal */
  protected constructor(caller: Caller) {
    this.caller = caller;
  }

  /**
   * Returns the models that can be used, in the order of their names. A page is fetched when its
   * first model is needed; `timeoutMs` applies to each page.
   */
  listModels(options: ListModelsOptions = {}): AsyncGenerator<Model, void> {
    const { pageSize = 0 } = options;
    const { listModels } = ModelService.method;
    return listed(
      (pageToken) => this.caller.query(listModels, { pageSize, pageToken }, options),
      ({ models }) => models,
    );
  }

  /** Returns what the gateway knows of a model. Throws a `DashgateError` if the call failed. */
  async getModel(name: string, options: CallOptions = {}): Promise<Model> {
    const { model } = await this.caller.query(ModelService.method.getModel, { name }, options);
    return model ?? create(ModelSchema);
  }

  /** Creates a stored conversation without turns. The gateway needs a store. */
  async createConversation(options: CreateConversationOptions = {}): Promise<StoredConversation> {
    const { id: conversationId = "" } = options;
    const request = { conversationId, conversation: stored(options) };
    // Without an id, a second attempt would create a second conversation.
    const mayRetry = conversationId !== "";
    const response = await this.caller.query(METHODS.createConversation, request, options, {
      mayRetry,
    });
    return response.conversation ?? create(ConversationSchema);
  }

  /** Returns a stored conversation, `conversations/{id}`, without its turns. */
  async getConversation(name: string, options: CallOptions = {}): Promise<StoredConversation> {
    const { conversation } = await this.caller.query(METHODS.getConversation, { name }, options);
    return conversation ?? create(ConversationSchema);
  }

  /** Returns the caller's stored conversations, the latest update first, as `listModels` does. */
  listConversations(
    options: ListConversationsOptions = {},
  ): AsyncGenerator<StoredConversation, void> {
    const { pageSize = 0 } = options;
    return listed(
      (pageToken) => this.caller.query(METHODS.listConversations, { pageSize, pageToken }, options),
      ({ conversations }) => conversations,
    );
  }

  /** Changes model, labels or ttl of a stored conversation; what is not given stays. */
  async updateConversation(
    name: string,
    options: UpdateConversationOptions,
  ): Promise<StoredConversation> {
    const fields = { model: options.model, labels: options.labels, ttl: options.ttlSeconds };
    const paths = Object.entries(fields).flatMap(([field, value]) =>
      value === undefined ? [] : [field],
    );
    const request = { conversation: { name, ...stored(options) }, updateMask: { paths } };
    const { conversation } = await this.caller.query(METHODS.updateConversation, request, options);
    return conversation ?? create(ConversationSchema);
  }

  /** Deletes a stored conversation with its turns and media. A turn that is running ends. */
  async deleteConversation(name: string, options: CallOptions = {}): Promise<void> {
    await this.caller.query(METHODS.deleteConversation, { name }, options);
  }

  /** Returns the turns of a stored conversation, in their order, as `listModels` does. */
  listTurns(name: string, options: ListTurnsOptions = {}): AsyncGenerator<Turn, void> {
    const { pageSize = 0, newestFirst = false, includeMedia = false } = options;
    const request = { name, pageSize, newestFirst, includeMedia };
    return listed(
      (pageToken) => this.caller.query(METHODS.listTurns, { ...request, pageToken }, options),
      ({ turns }) => turns,
    );
  }

  /** Deletes a turn, `conversations/{id}/turns/{number}`, with its media. */
  async deleteTurn(name: string, options: CallOptions = {}): Promise<void> {
    await this.caller.query(METHODS.deleteTurn, { name }, options);
  }

  /** Creates a stored conversation with a copy of the history of another, up to a turn. */
  async forkConversation(
    name: string,
    options: ForkConversationOptions = {},
  ): Promise<StoredConversation> {
    const { lastTurn, id: conversationId = "" } = options;
    const request = { name, conversationId, ...(lastTurn !== undefined && { lastTurn }) };
    const mayRetry = conversationId !== "";
    const response = await this.caller.query(METHODS.forkConversation, request, options, {
      mayRetry,
    });
    return response.conversation ?? create(ConversationSchema);
  }

  /**
   * Cancels the turn that is running: that with this request id, or any. Its callers get `ABORTED`
   * with the reason `CALL_CANCELLED`. Returns its request id, which is empty if none was running.
   */
  async cancelTurn(name: string, requestId = "", options: CallOptions = {}): Promise<string> {
    const response = await this.caller.query(METHODS.cancelTurn, { name, requestId }, options);
    return response.requestId;
  }
}

/** Iterates over the items of all pages. */
async function* listed<P extends { readonly nextPageToken: string }, T>(
  fetchPage: (pageToken: string) => Promise<P>,
  items: (page: P) => readonly T[],
): AsyncGenerator<T, void> {
  let pageToken = "";
  do {
    const page = await fetchPage(pageToken);
    yield* items(page);
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
}

function stored({ model, labels, ttlSeconds }: StoredFields) {
  return {
    ...(model !== undefined && { model }),
    ...(labels !== undefined && { labels: { ...labels } }),
    ...(ttlSeconds !== undefined && { ttl: durationFromMs(ttlSeconds * 1000) }),
  };
}
