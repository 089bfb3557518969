/** Stored conversations. */
import { deepEqual, equal } from "node:assert/strict";
import { test } from "node:test";

import { Code, ConnectError } from "@connectrpc/connect";
import { Client, Conversation, Role, type Answer } from "dashgate";
import type { ConverseRequest, ListTurnsRequest } from "dashgate/v1";

import { failure, unavailable } from "./tools/calls.js";
import { played } from "./tools/gateway.js";

const NAME = "conversations/a";

test("only new messages are sent, and the turn that is expected", async () => {
  const requests: ConverseRequest[] = [];
  await using gateway = await played({
    conversations: {
      converse: (request) => {
        requests.push(request);
        return { historyUsed: { turn: requests.length } };
      },
      converseStream: async function* (request) {
        requests.push(request as unknown as ConverseRequest);
        const historyUsed = { turn: requests.length };
        yield await Promise.resolve({
          event: { case: "completed" as const, value: { choices: [{ index: 0 }], historyUsed } },
        });
      },
    },
  });
  using client = new Client(gateway.address);
  const conversation = new Conversation("", { name: NAME }).declare({ name: "f", description: "" });
  const turn = async (say: string, ask: () => Promise<Answer>) => {
    conversation.user(say);
    conversation.append(await ask());
  };
  await turn("one", () => client.converse(conversation));
  equal(conversation.lastTurn, 1);
  deepEqual(conversation.raw.messages, []);
  await turn("two", () => client.stream(conversation).final());
  await turn("three", () =>
    client.converse(conversation, { expectedTurn: 7, history: { maxTurns: 3 } }),
  );
  equal(conversation.lastTurn, 3);
  deepEqual(
    requests.map((request) => [
      request.expectedTurn,
      request.conversation?.messages.map(({ content }) => content[0]?.kind.value),
      request.conversation?.lastTurn,
      request.conversation?.tools.length,
    ]),
    [
      [undefined, ["one"], 0, 1],
      [1, ["two"], 0, 1],
      [7, ["three"], 0, 1],
    ],
  );
  equal(requests[2]?.history?.maxTurns, 3);
});

test("results of tools are the new messages of the next call", async () => {
  const requests: ConverseRequest[] = [];
  await using gateway = await played({
    conversations: {
      converse: (request) => {
        requests.push(request);
        const toolCalls = requests.length === 1 ? [{ id: "c", name: "f" }] : [];
        return {
          choices: [{ message: { role: Role.ASSISTANT, toolCalls } }],
          historyUsed: { turn: requests.length },
        };
      },
    },
  });
  using client = new Client(gateway.address);
  const conversation = new Conversation("m", { name: NAME }).user("go");
  const tool = { name: "f", description: "", run: () => "42" };
  await client.runTools(conversation, [tool], { expectedTurn: 0, requestId: "mine" });
  deepEqual(
    requests.map((request) => [
      request.expectedTurn,
      request.requestId === "mine",
      request.conversation?.messages.map(({ content }) => content[0]?.kind.value),
    ]),
    [
      [0, true, ["go"]],
      [1, false, ["42"]],
    ],
  );
  equal(conversation.lastTurn, 2);
});

test("conversations are created, changed, listed, forked and deleted", async () => {
  const seen: unknown[] = [];
  await using gateway = await played({
    conversations: {
      createConversation: ({ conversationId, conversation }) => {
        const { model, labels, ttl } = conversation ?? {};
        seen.push(["create", conversationId, model, labels, ttl?.seconds]);
        return { conversation: { name: `conversations/${conversationId}` } };
      },
      updateConversation: ({ conversation, updateMask }) => {
        seen.push(["update", conversation?.name, conversation?.labels, updateMask?.paths]);
        return { conversation: { name: NAME } };
      },
      listConversations: ({ pageToken, pageSize }) => {
        seen.push(["list", pageSize, pageToken]);
        const nextPageToken = pageToken === "" ? "next" : "";
        return { conversations: [{ name: `of ${pageToken}` }], nextPageToken };
      },
      listTurns: (request) => {
        seen.push(["turns", settings(request)]);
        return { turns: [{ number: 1 }] };
      },
      forkConversation: ({ name, conversationId, lastTurn }) => {
        seen.push(["fork", name, conversationId, lastTurn]);
        return { conversation: { name: "conversations/b" } };
      },
      getConversation: ({ name }) => ({ conversation: { name } }),
      cancelTurn: ({ requestId }) => ({ requestId }),
      deleteTurn: ({ name }) => {
        seen.push(["delete turn", name]);
        return {};
      },
      deleteConversation: ({ name }) => {
        seen.push(["delete", name]);
        return {};
      },
    },
  });
  const settings = ({ name, newestFirst, includeMedia, pageSize }: ListTurnsRequest) => {
    return [name, newestFirst, includeMedia, pageSize];
  };
  using client = new Client(gateway.address);
  const made = await client.createConversation({
    ...{ id: "a", model: "m", labels: { team: "red" } },
    ttlSeconds: 60,
  });
  equal(made.name, NAME);
  await client.updateConversation(NAME, { labels: {} });
  const names: string[] = [];
  for await (const { name } of client.listConversations({ pageSize: 1 })) names.push(name);
  deepEqual(names, ["of ", "of next"]);
  for await (const { number } of client.listTurns(NAME, { newestFirst: true })) equal(number, 1);
  equal((await client.forkConversation(NAME, { lastTurn: 0, id: "b" })).name, "conversations/b");
  equal((await client.getConversation(NAME)).name, NAME);
  equal(await client.cancelTurn(NAME, "r-1"), "r-1");
  await client.deleteTurn(`${NAME}/turns/1`);
  await client.deleteConversation(NAME);
  deepEqual(seen, [
    ["create", "a", "m", { team: "red" }, 60n],
    ["update", NAME, {}, ["labels"]],
    ["list", 1, ""],
    ["list", 1, "next"],
    ["turns", [NAME, true, false, 0]],
    ["fork", NAME, "b", 0],
    ["delete turn", `${NAME}/turns/1`],
    ["delete", NAME],
  ]);
});

test("a conversation without an id is not created twice", async () => {
  let calls = 0;
  const flaky = () => {
    calls += 1;
    if (calls % 2 === 1) throw unavailable("0");
    return {};
  };
  await using gateway = await played({
    conversations: { createConversation: flaky, forkConversation: flaky },
  });
  using client = new Client(gateway.address);
  await client.createConversation({ id: "a" });
  await client.forkConversation(NAME, { id: "b" });
  equal(calls, 4);
  equal((await failure(client.createConversation())).code, "UNAVAILABLE");
  calls = 0;
  equal((await failure(client.forkConversation(NAME))).code, "UNAVAILABLE");
  equal(calls, 1);
});

test("a turn that was made in between fails the call, and nothing is lost", async () => {
  await using gateway = await played({
    conversations: {
      converse: () => {
        throw new ConnectError("stale", Code.Aborted);
      },
    },
  });
  using client = new Client(gateway.address);
  const conversation = new Conversation("m", { name: NAME }).user("mine");
  equal((await failure(client.converse(conversation))).code, "ABORTED");
  equal(conversation.raw.messages.length, 1);
});
