package io.dashgate;

import com.google.protobuf.ByteString;
import com.google.protobuf.Struct;
import com.google.protobuf.Value;
import io.dashgate.v1.Audio;
import io.dashgate.v1.AudioFile;
import io.dashgate.v1.Choice;
import io.dashgate.v1.ChoiceEnd;
import io.dashgate.v1.Completed;
import io.dashgate.v1.Content;
import io.dashgate.v1.ConverseResponse;
import io.dashgate.v1.ConverseStreamResponse;
import io.dashgate.v1.Delta;
import io.dashgate.v1.Image;
import io.dashgate.v1.Logprobs;
import io.dashgate.v1.Message;
import io.dashgate.v1.Role;
import io.dashgate.v1.ToolCall;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;

/** Accumulates the events of a stream into an answer. */
final class AnswerFold {
  /**
   * The MIME type of the audio in a stream's events, unless its file names another one: 16-bit
   * little-endian mono at 24 kHz.
   */
  private static final String STREAMED_AUDIO = "audio/pcm";

  private final ConverseResponse.Builder response = ConverseResponse.newBuilder();
  private final Map<Integer, Draft> drafts = new TreeMap<>();
  /** Null before the last event. */
  private Completed completed;

  private boolean hasOutput;
  private boolean isEmpty = true;

  /** Adds the next event. Unset events are of a newer schema and are skipped. */
  void add(ConverseStreamResponse event) {
    isEmpty &= event.hasHeartbeat();
    switch (event.getEventCase()) {
      case STARTED:
        response
            .setModel(event.getStarted().getModel())
            .setRequestId(event.getStarted().getRequestId())
            .setUpstreamRequestId(event.getStarted().getUpstreamRequestId());
        break;
      case DELTA:
        hasOutput = true;
        add(event.getDelta());
        break;
      case COMPLETED:
        completed = event.getCompleted();
        break;
      default:
        break;
    }
  }

  /** Returns whether the last event was received. */
  boolean isComplete() {
    return completed != null;
  }

  /** Returns whether a part of the answer was received. */
  boolean hasOutput() {
    return hasOutput;
  }

  /** Returns whether only heartbeats were received. */
  boolean isEmpty() {
    return isEmpty;
  }

  /** Returns the answer so far. More events may be added. */
  Answer answer(TextHeaders headers) {
    ConverseResponse.Builder whole = response.clone();
    Completed end = completed == null ? Completed.getDefaultInstance() : completed;
    Map<Integer, ChoiceEnd> ends = new LinkedHashMap<>();
    end.getChoicesList().forEach(it -> ends.putIfAbsent(it.getIndex(), it));
    // A choice without output exists nevertheless.
    Set<Integer> indices = new TreeSet<>(drafts.keySet());
    indices.addAll(ends.keySet());
    for (int index : indices) {
      Draft draft = drafts.getOrDefault(index, new Draft());
      whole.addChoices(draft.choice(index, ends.get(index)));
    }
    if (end.hasUsage()) {
      whole.setUsage(end.getUsage());
    }
    if (end.hasTiming()) {
      whole.setTiming(end.getTiming());
    }
    if (end.hasExtraOutput()) {
      whole.setExtraOutput(end.getExtraOutput());
    }
    if (end.hasExtra()) {
      whole.setExtra(end.getExtra());
    }
    if (end.hasHistoryUsed()) {
      whole.setHistoryUsed(end.getHistoryUsed());
    }
    whole.addAllWarnings(end.getWarningsList());
    return Answer.of(whole.build(), headers);
  }

  private void add(Delta delta) {
    switch (delta.getPartCase()) {
      case PART_NOT_SET:
        break;
      case SEARCH_INFO:
        response.setSearchInfo(delta.getSearchInfo());
        break;
      default:
        draft(delta.getChoiceIndex()).add(delta);
        break;
    }
  }

  private Draft draft(int index) {
    return drafts.computeIfAbsent(index, unused -> new Draft());
  }

  /** An incomplete choice. */
  private static final class Draft {
    private final Message.Builder message = Message.newBuilder().setRole(Role.ROLE_ASSISTANT);
    private final StringBuilder reasoning = new StringBuilder();
    private final List<Part> parts = new ArrayList<>();
    private final Map<Integer, Call> calls = new TreeMap<>();
    private final Logprobs.Builder logprobs = Logprobs.newBuilder();
    private boolean hasLogprobs;
    private final List<Sound> sounds = new ArrayList<>();

    void add(Delta delta) {
      switch (delta.getPartCase()) {
        case TEXT:
          addText(delta.getText(), delta.getStartsPart());
          break;
        case REASONING_TEXT:
          reasoning.append(delta.getReasoningText());
          break;
        case AUDIO:
          Sound sound = sound(delta.getStartsPart());
          sound.bytes = sound.bytes.concat(delta.getAudio());
          break;
        case TOOL_CALL:
          ToolCall call = delta.getToolCall();
          calls.computeIfAbsent(call.getIndex(), unused -> new Call()).add(call);
          break;
        case ANNOTATION:
          message.addAnnotations(delta.getAnnotation());
          break;
        case IMAGE_URI:
          parts.add(new Part(image(delta.getImageUri())));
          break;
        case AUDIO_FILE:
          sound(delta.getStartsPart()).file = delta.getAudioFile();
          break;
        case EXTRA:
          addExtra(delta.getExtra(), delta.getStartsPart());
          break;
        case MESSAGE_EXTRA:
          message.setExtra(merged(message.getExtra(), delta.getMessageExtra()));
          break;
        case LOGPROBS:
          hasLogprobs = true;
          logprobs.addAllContent(delta.getLogprobs().getContentList());
          if (delta.getLogprobs().hasExtra()) {
            logprobs.setExtra(merged(logprobs.getExtra(), delta.getLogprobs().getExtra()));
          }
          break;
        default:
          break;
      }
    }

    Choice choice(int index, ChoiceEnd end) {
      Message.Builder whole = message.clone();
      parts.forEach(part -> whole.addContent(part.content()));
      sounds.forEach(sound -> whole.addContent(Content.newBuilder().setAudio(sound.audio())));
      whole.setReasoningText(reasoning.toString());
      calls.forEach((callIndex, call) -> whole.addToolCalls(call.toolCall(callIndex)));
      Choice.Builder choice = Choice.newBuilder().setIndex(index).setMessage(whole);
      if (hasLogprobs) {
        choice.setLogprobs(logprobs);
      }
      if (end != null) {
        // The number, so that an unknown reason is kept.
        choice.setFinishReasonValue(end.getFinishReasonValue());
        choice.setRawFinishReason(end.getRawFinishReason());
        if (end.hasExtra()) {
          choice.setExtra(end.getExtra());
        }
      }
      return choice.build();
    }

    private void addText(String text, boolean startsPart) {
      Part last = startsPart || parts.isEmpty() ? null : parts.get(parts.size() - 1);
      if (last == null || last.text == null) {
        last = Part.ofText();
        parts.add(last);
      }
      last.text.append(text);
    }

    private void addExtra(Struct extra, boolean startsPart) {
      if (startsPart || parts.isEmpty()) {
        parts.add(new Part(Content.newBuilder()));
      }
      Content.Builder last = parts.get(parts.size() - 1).content;
      last.setExtra(merged(last.getExtra(), extra));
    }

    private Sound sound(boolean startsPart) {
      if (startsPart || sounds.isEmpty()) {
        sounds.add(new Sound());
      }
      return sounds.get(sounds.size() - 1);
    }

    private static Content.Builder image(String uri) {
      return Content.newBuilder().setImage(Image.newBuilder().setUri(uri));
    }
  }

  /** Merges fields into a struct; a new value replaces an old one. */
  private static Struct merged(Struct there, Struct extra) {
    return there.toBuilder().putAllFields(extra.getFieldsMap()).build();
  }

  /** An incomplete audio part. */
  private static final class Sound {
    ByteString bytes = ByteString.EMPTY;
    AudioFile file;

    Audio audio() {
      Audio.Builder audio = Audio.newBuilder();
      if (file != null) {
        audio.setFile(file);
      }
      if (!bytes.isEmpty()) {
        audio.setMimeType(mimeType()).setData(bytes);
      } else if (file != null && !file.getUri().isEmpty()) {
        audio.setUri(file.getUri());
      }
      return audio.build();
    }

    /** Returns the type that the gateway names, or that of streamed audio. */
    private String mimeType() {
      if (file == null) {
        return STREAMED_AUDIO;
      }
      Value absent = Value.getDefaultInstance();
      String named = file.getExtra().getFieldsOrDefault("mime_type", absent).getStringValue();
      return named.startsWith("audio/") ? named : STREAMED_AUDIO;
    }
  }

  /** An incomplete part. */
  private static final class Part {
    final Content.Builder content;
    /** Null if the part is not a text. */
    final StringBuilder text;

    Part(Content.Builder content) {
      this(content, null);
    }

    private Part(Content.Builder content, StringBuilder text) {
      this.content = content;
      this.text = text;
    }

    static Part ofText() {
      return new Part(Content.newBuilder(), new StringBuilder());
    }

    Content content() {
      Content.Builder whole = content.clone();
      return text == null ? whole.build() : whole.setText(text.toString()).build();
    }
  }

  /** An incomplete tool call. */
  private static final class Call {
    private final ToolCall.Builder call = ToolCall.newBuilder();
    private final StringBuilder arguments = new StringBuilder();

    void add(ToolCall next) {
      if (call.getId().isEmpty()) {
        call.setId(next.getId());
      }
      if (call.getType().isEmpty()) {
        call.setType(next.getType());
      }
      call.setName(call.getName() + next.getName());
      arguments.append(next.getArguments());
      if (next.hasExtra()) {
        call.setExtra(merged(call.getExtra(), next.getExtra()));
      }
    }

    ToolCall toolCall(int index) {
      return call.clone().setIndex(index).setArguments(arguments.toString()).build();
    }
  }
}
