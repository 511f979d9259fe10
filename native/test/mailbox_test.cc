#include "../core/mailbox.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

namespace odradek {
namespace {

struct Letter {
  int sender = 0;
  int number = 0;
  Letter* next = nullptr;
};

TEST(Mailbox, IsEmptyAtFirst) {
  Mailbox<Letter> mailbox;
  EXPECT_TRUE(mailbox.empty());
  EXPECT_EQ(mailbox.takeAll(), nullptr);
}

TEST(Mailbox, GivesTheOldestFirst) {
  Mailbox<Letter> mailbox;
  Letter letters[3];
  for (Letter& letter : letters) mailbox.push(&letter);
  EXPECT_FALSE(mailbox.empty());
  Letter* first = mailbox.takeAll();
  EXPECT_EQ(first, &letters[0]);
  EXPECT_EQ(first->next, &letters[1]);
  EXPECT_EQ(first->next->next, &letters[2]);
  EXPECT_EQ(first->next->next->next, nullptr);
  EXPECT_TRUE(mailbox.empty());
}

TEST(Mailbox, ATakenLetterMayBePushedAgain) {
  Mailbox<Letter> mailbox;
  Letter letters[2];
  mailbox.push(&letters[0]);
  mailbox.push(&letters[1]);
  mailbox.takeAll();
  mailbox.push(&letters[1]);
  Letter* first = mailbox.takeAll();
  EXPECT_EQ(first, &letters[1]);
  EXPECT_EQ(first->next, nullptr);
}

TEST(Mailbox, ThreadsKeepTheirOrderAndLoseNothing) {
  constexpr int kSenders = 2;
  constexpr int kLetters = 50'000;
  Mailbox<Letter> mailbox;
  std::vector<std::vector<Letter>> letters(kSenders, std::vector<Letter>(kLetters));
  std::vector<std::thread> senders;
  for (int sender = 0; sender < kSenders; sender++) {
    senders.emplace_back([&, sender] {
      for (int i = 0; i < kLetters; i++) {
        Letter& letter = letters[static_cast<size_t>(sender)][static_cast<size_t>(i)];
        letter.sender = sender;
        letter.number = i;
        mailbox.push(&letter);
      }
    });
  }
  int expected[kSenders] = {};
  int taken = 0;
  bool is_ordered = true;
  while (taken < kSenders * kLetters) {
    for (Letter* letter = mailbox.takeAll(); letter != nullptr; letter = letter->next) {
      is_ordered = is_ordered && letter->number == expected[letter->sender];
      expected[letter->sender] = letter->number + 1;
      taken++;
    }
  }
  for (std::thread& sender : senders) sender.join();
  EXPECT_TRUE(is_ordered);
  EXPECT_TRUE(mailbox.empty());
}

}  // namespace
}  // namespace odradek
