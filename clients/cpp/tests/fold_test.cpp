#include "fold.h"

#include <dashgate/answer.h>
#include <gtest/gtest.h>

#include "server.h"

namespace {

namespace v1 = dashgate::v1;
using dashgate::detail::Fold;
using tests::completed;
using tests::started;
using tests::text_delta;

v1::ConverseStreamResponse delta(const std::function<void(v1::Delta&)>& fill) {
  v1::ConverseStreamResponse event;
  fill(*event.mutable_delta());
  return event;
}

dashgate::Answer fold(const std::vector<v1::ConverseStreamResponse>& events) {
  Fold fold;
  for (const auto& event : events) fold.add(event);
  return dashgate::Answer(fold.finish());
}

TEST(Fold, JoinsTextsAndThoughtsAndTakesNamesAndEnds) {
  v1::ConverseStreamResponse end = completed();
  end.mutable_completed()->mutable_usage()->set_input_tokens(3);
  end.mutable_completed()->mutable_timing()->set_attempts(2);
  const auto answer = fold({
      started(),
      delta([](auto& d) { d.set_reasoning_text("let me "); }),
      delta([](auto& d) { d.set_reasoning_text("see"); }),
      text_delta("It is "),
      text_delta(""),
      text_delta("nine."),
      end,
  });
  EXPECT_EQ(answer.text(), "It is nine.");
  EXPECT_EQ(answer.reasoning_text(), "let me see");
  EXPECT_EQ(answer.message().role(), v1::ROLE_ASSISTANT);
  EXPECT_EQ(answer.message().content_size(), 1);
  EXPECT_EQ(answer.finish_reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(answer.raw_finish_reason(), "stop");
  EXPECT_EQ(answer.model(), "m");
  EXPECT_EQ(answer.request_id(), "r");
  EXPECT_EQ(answer.upstream_request_id(), "u");
  EXPECT_EQ(answer.usage().input_tokens(), 3);
  EXPECT_EQ(answer.timing().attempts(), 2);
}

TEST(Fold, ATextAfterAPictureIsANewPart) {
  const auto answer = fold({
      text_delta("a"),
      delta([](auto& d) { d.set_image_uri("https://x/1.png"); }),
      text_delta("b"),
      text_delta("c"),
      completed(),
  });
  ASSERT_EQ(answer.message().content_size(), 3);
  EXPECT_EQ(answer.message().content(1).image().uri(), "https://x/1.png");
  EXPECT_EQ(answer.message().content(2).text(), "bc");
  EXPECT_EQ(answer.text(), "abc");
}

TEST(Fold, SoundIsOnePartAfterAllOthers) {
  const auto answer = fold({
      delta([](auto& d) { d.set_audio(std::string("\0\1", 2)); }),
      text_delta("said"),
      delta([](auto& d) { d.mutable_audio_file()->set_uri("https://x/old.wav"); }),
      delta([](auto& d) { d.mutable_audio_file()->set_uri("https://x/new.wav"); }),
      delta([](auto& d) { d.set_audio("\2\3"); }),
      completed(),
  });
  ASSERT_EQ(answer.message().content_size(), 2);
  const v1::Audio& audio = answer.message().content(1).audio();
  EXPECT_EQ(audio.mime_type(), "audio/pcm");
  EXPECT_EQ(audio.data(), std::string("\0\1\2\3", 4));
  EXPECT_EQ(audio.file().uri(), "https://x/new.wav");
  EXPECT_EQ(answer.audio(), audio.data());
}

TEST(Fold, AudioHasTheTypeThatItsFileNames) {
  const auto file = [](const char* named) {
    return delta([=](auto& d) {
      d.set_starts_part(true);
      v1::AudioFile& named_file = *d.mutable_audio_file();
      named_file.set_uri("https://x/a");
      (*named_file.mutable_extra()->mutable_fields())["mime_type"].set_string_value(named);
    });
  };
  const auto bytes = delta([](auto& d) { d.set_audio("a"); });
  auto number = file("");
  (*number.mutable_delta()->mutable_audio_file()->mutable_extra()->mutable_fields())["mime_type"]
      .set_number_value(1);
  auto another = bytes;
  another.mutable_delta()->set_starts_part(true);
  const auto answer =
      fold({file("audio/mpeg"), bytes, bytes, file("audio/pcm;rate=44100;channels=2"), bytes,
            another, file("audio"), bytes, file("text/plain"), bytes, file(""), bytes, number,
            bytes, file("audio/mpeg"), completed()});
  std::vector<std::string> types;
  for (const auto& part : answer.message().content()) types.push_back(part.audio().mime_type());
  const std::string pcm = "audio/pcm";
  EXPECT_EQ(types, (std::vector<std::string>{"audio/mpeg", "audio/pcm;rate=44100;channels=2", pcm,
                                             pcm, pcm, pcm, pcm, ""}));
  EXPECT_EQ(answer.message().content(0).audio().data(), "aa");
}

TEST(Fold, AFileWithoutBytesIsWhereTheSoundIs) {
  const auto answer = fold({
      delta([](auto& d) { d.mutable_audio_file()->set_uri("https://x/a.wav"); }),
      completed(),
  });
  ASSERT_EQ(answer.message().content_size(), 1);
  EXPECT_EQ(answer.message().content(0).audio().uri(), "https://x/a.wav");
  EXPECT_EQ(answer.message().content(0).audio().mime_type(), "");
}

TEST(Fold, ToolCallsAreJoinedByIndexAndSorted) {
  const auto piece = [](int index, const char* id, const char* name, const char* arguments) {
    return delta([=](auto& d) {
      d.mutable_tool_call()->set_index(index);
      d.mutable_tool_call()->set_id(id);
      d.mutable_tool_call()->set_name(name);
      d.mutable_tool_call()->set_arguments(arguments);
    });
  };
  const auto answer = fold({piece(1, "b", "g", "{}"), piece(0, "a", "f", "{\"x\":"),
                            piece(0, "other", "", "1}"), completed()});
  ASSERT_EQ(answer.tool_calls().size(), 2);
  EXPECT_EQ(answer.tool_calls()[0].id(), "a");
  EXPECT_EQ(answer.tool_calls()[0].name(), "f");
  EXPECT_EQ(answer.tool_calls()[0].arguments(), "{\"x\":1}");
  EXPECT_EQ(answer.tool_calls()[1].id(), "b");
}

TEST(Fold, ExtraIsMergedIntoTheLastPart) {
  const auto extra = [](const char* key, const char* value) {
    return delta(
        [=](auto& d) { (*d.mutable_extra()->mutable_fields())[key].set_string_value(value); });
  };
  const auto answer = fold(
      {extra("alone", "1"), text_delta("t"), extra("k", "old"), extra("k", "new"), completed()});
  ASSERT_EQ(answer.message().content_size(), 2);
  EXPECT_EQ(answer.message().content(0).kind_case(), v1::Content::KIND_NOT_SET);
  EXPECT_EQ(answer.message().content(1).extra().fields().at("k").string_value(), "new");
}

TEST(Fold, ChoicesAreSortedAndASilentOneIsThere) {
  v1::ConverseStreamResponse end = completed();
  end.mutable_completed()->add_choices()->set_index(2);
  const auto answer = fold({text_delta("second", 1), text_delta("first", 0), end});
  ASSERT_EQ(answer.choices().size(), 3);
  EXPECT_EQ(answer.choices()[0].message().content(0).text(), "first");
  EXPECT_EQ(answer.choices()[1].index(), 1);
  EXPECT_EQ(answer.choices()[2].index(), 2);
  EXPECT_EQ(answer.text(), "first");
}

TEST(Fold, WhatIsUnsetIsSkipped) {
  v1::ConverseStreamResponse of_tomorrow;
  of_tomorrow.set_sequence(7);
  const auto answer = fold(
      {of_tomorrow, delta([](auto& d) { d.set_choice_index(5); }), text_delta("x"), completed()});
  EXPECT_EQ(answer.choices().size(), 1);
  EXPECT_EQ(answer.text(), "x");
}

TEST(Fold, TheLastSourcesHoldAndLogprobsAreJoined) {
  const auto logprob = [](const char* token) {
    return delta([=](auto& d) { d.mutable_logprobs()->add_content()->set_token(token); });
  };
  const auto source = [](const char* title) {
    return delta([=](auto& d) { d.mutable_search_info()->add_search_results()->set_title(title); });
  };
  const auto answer = fold({source("a"), logprob("x"), logprob("y"), source("b"), completed()});
  EXPECT_EQ(answer.choices()[0].logprobs().content_size(), 2);
  ASSERT_EQ(answer.raw().search_info().search_results_size(), 1);
  EXPECT_EQ(answer.raw().search_info().search_results(0).title(), "b");
}

}  // namespace
