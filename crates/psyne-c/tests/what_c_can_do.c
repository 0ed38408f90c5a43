/* Every pattern, every answer, and every kind of wrong use from C. Ends with a line on stdout; a
 * promise that is not kept ends it at once. Built with sanitizers, which find what it would not. */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "psyne.h"

#define CHECK(promise)                                                                \
  do {                                                                                \
    if (!(promise)) {                                                                 \
      fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #promise, psyne_error_text()); \
      abort();                                                                        \
    }                                                                                 \
  } while (0)
#define OK(call) CHECK((call) == PSYNE_OK)
/* A status, and that it says something. */
#define SAYS(status, call) CHECK((call) == (status) && psyne_error_text()[0] != '\0')
#define MISUSE(call) SAYS(PSYNE_MISUSE, call)

/* As long as anything that comes may take on a busy machine: nanoseconds. */
#define LONG 60000000000

static psyne_layout number(void) { return psyne_layout_named("u64", 0, 0); }

/* An address that no other run has. */
static const char *address(const char *scheme, const char *name) {
  static char text[100];
  snprintf(text, sizeof text, "%s://c-%s-%d", scheme, name, (int)getpid());
  return text;
}

static psyne_sender *sender(const char *at, psyne_layout layout, const psyne_config *config) {
  psyne_sender *end;
  OK(psyne_sender_open(at, layout, config, &end));
  return end;
}

static psyne_receiver *receiver(const char *at, psyne_layout layout, const psyne_config *config) {
  psyne_receiver *end;
  OK(psyne_receiver_open(at, layout, config, &end));
  return end;
}

/* The next number. */
static uint64_t next(psyne_receiver *from) {
  const void *message;
  size_t bytes;
  OK(psyne_recv(from, LONG, &message, &bytes));
  CHECK(bytes == 8);
  return *(const uint64_t *)message;
}

/* Whether the next string is this. Who holds a string of a broadcast holds its sender up. */
static int is_next(psyne_receiver *from, const char *text) {
  const void *message;
  size_t bytes;
  OK(psyne_recv(from, LONG, &message, &bytes));
  int same = bytes == strlen(text) && memcmp(message, text, bytes) == 0;
  psyne_release(from);
  return same;
}

static psyne_status wait_for(psyne_receiver *from) {
  const void *message;
  size_t bytes;
  return psyne_recv(from, LONG, &message, &bytes);
}

static void many_send_to_one(void) {
  psyne_config config = psyne_config_default();
  config.pattern = PSYNE_MPSC;
  config.senders_max = 2;
  psyne_receiver *to = receiver(address("ipc", "mpsc"), number(), &config);
  psyne_sender *from[2];
  for (uint64_t at = 0; at < 2; at++) {
    from[at] = sender(address("ipc", "mpsc"), number(), &config);
    OK(psyne_send(from[at], &at, sizeof at));
  }
  CHECK(next(to) + next(to) == 1);
  psyne_sender *third;
  SAYS(PSYNE_CROWDED, psyne_sender_open(address("ipc", "mpsc"), number(), &config, &third));
  CHECK(third == NULL && psyne_error_number() == 2);
  psyne_sender_close(&from[0]);
  psyne_sender_close(&from[1]);
  SAYS(PSYNE_CLOSED, wait_for(to));
  psyne_receiver_close(&to);
}

static void each_of_many_takes_some(void) {
  psyne_config config = psyne_config_default();
  config.pattern = PSYNE_MPMC;
  psyne_sender *from[2];
  psyne_receiver *to[2];
  uint64_t left = 2, sum = 0;
  for (uint64_t at = 0; at < 2; at++) {
    from[at] = sender(address("ipc", "mpmc"), number(), &config);
    OK(psyne_send(from[at], &at, sizeof at));
  }
  for (int at = 0; at < 2; at++) {
    to[at] = receiver(address("ipc", "mpmc"), number(), &config);
    sum += next(to[at]);
  }
  CHECK(sum == 1);
  for (int at = 0; at < 2; at++) {
    OK(psyne_unread(from[at], &left));
    CHECK(left == 0);
    psyne_sender_close(&from[at]);
  }
  SAYS(PSYNE_CLOSED, wait_for(to[0]));
  for (int at = 0; at < 2; at++) psyne_receiver_close(&to[at]);
  config.pattern = PSYNE_SPMC;
  from[0] = sender(address("memory", "spmc"), number(), &config);
  SAYS(PSYNE_CROWDED, psyne_sender_open(address("memory", "spmc"), number(), &config, &from[1]));
  psyne_sender_close(&from[0]);
}

static void wait_for_receivers(psyne_sender *from, size_t count) {
  size_t there = 0;
  while (there < count) {
    OK(psyne_receivers(from, &there));
    usleep(100);
  }
}

static void strings_are_broadcast(void) {
  psyne_config config = psyne_config_default();
  config.pattern = PSYNE_BROADCAST;
  config.slots = 64;
  const char *at = address("ipc", "cast");
  psyne_sender *from = sender(at, PSYNE_BYTES, &config);
  psyne_receiver *keen = receiver(at, PSYNE_BYTES, &config);
  config.lag = PSYNE_LAG_SKIP;
  psyne_receiver *skips = receiver(at, PSYNE_BYTES, &config);
  wait_for_receivers(from, 2);
  OK(psyne_send_marked(from, "key", 3));
  OK(psyne_send(from, "", 0));
  config.at_mark = 1;
  config.lag = PSYNE_LAG_SKIP_TO_MARK;
  psyne_receiver *late = receiver(at, PSYNE_BYTES, &config);
  wait_for_receivers(from, 3);
  CHECK(is_next(late, "key") && is_next(late, ""));
  CHECK(is_next(keen, "key") && is_next(keen, ""));
  void *room;
  for (int count = 0; count < 200; count++) {
    OK(psyne_loan(from, 4, &room));
    memcpy(room, "loan", 4);
    if (count == 199) OK(psyne_mark(from));
    OK(psyne_commit(from));
    CHECK(is_next(keen, "loan"));
  }
  SAYS(PSYNE_LAGGED, wait_for(skips));
  CHECK(psyne_error_number() > 0 && is_next(skips, "loan"));
  SAYS(PSYNE_LAGGED, wait_for(late));
  CHECK(psyne_error_number() == 199 && is_next(late, "loan"));
  const void *message;
  size_t bytes;
  SAYS(PSYNE_TIMED_OUT, psyne_recv(late, 0, &message, &bytes));
  SAYS(PSYNE_CONFIG, psyne_newest(keen, &message, &bytes));
  psyne_sender_close(&from);
  SAYS(PSYNE_CLOSED, wait_for(keen));
  psyne_receiver_close(&keen);
  psyne_receiver_close(&skips);
  psyne_receiver_close(&late);
}

static void events_are_counted(void) {
  const char *at = address("ipc", "events");
  psyne_notifier *notifier, *other;
  psyne_listener *listener, *second;
  OK(psyne_notifier_open(at, NULL, &notifier));
  SAYS(PSYNE_CROWDED, psyne_notifier_open(at, NULL, &other));
  OK(psyne_listener_open(at, NULL, &listener));
  OK(psyne_notifier_open(address("ipc", "others"), NULL, &other));
  OK(psyne_listener_open(address("ipc", "others"), NULL, &second));
  OK(psyne_listener_join(listener, &second));
  CHECK(second == NULL);
  psyne_events events;
  SAYS(PSYNE_TIMED_OUT, psyne_wait(listener, 0, &events));
  MISUSE(psyne_listener_arm(listener));
  int fd;
  OK(psyne_listener_watch(listener, &fd));
  SAYS(PSYNE_TIMED_OUT, psyne_listener_arm(listener));
  for (int count = 0; count < 3; count++) OK(psyne_notify(notifier, 63));
  OK(psyne_notify(other, 0));
  struct pollfd wanted = {fd, POLLIN, 0};
  CHECK(poll(&wanted, 1, 60000) == 1);
  uint64_t ids = 0;
  uint32_t counts[2] = {0, 0};
  while (ids != (1ull << 63 | 1)) {
    OK(psyne_wait(listener, LONG, &events));
    ids |= events.ids;
    counts[0] += events.counts[0];
    counts[1] += events.counts[63];
  }
  CHECK(counts[0] == 1 && counts[1] == 3);
  MISUSE(psyne_notify(notifier, 64));
  MISUSE(psyne_notify(NULL, 1));
  MISUSE(psyne_wait(NULL, 0, &events));
  MISUSE(psyne_wait(listener, 0, NULL));
  MISUSE(psyne_listener_join(listener, NULL));
  MISUSE(psyne_listener_join(listener, &second));
  psyne_listener *same = listener;
  MISUSE(psyne_listener_join(listener, &same));
  psyne_notifier_close(&notifier);
  psyne_notifier_close(&other);
  SAYS(PSYNE_CLOSED, psyne_wait(listener, LONG, &events));
  psyne_listener_close(&listener);
  MISUSE(psyne_wait(listener, 0, &events));
}

static void calls_end_in_any_order(void) {
  psyne_config config = psyne_config_default();
  config.calls_max = 2;
  const char *at = address("memory", "calls");
  psyne_server *server;
  psyne_client *client;
  OK(psyne_server_open(at, number(), number(), &config, &server));
  OK(psyne_client_open(at, number(), number(), &config, &client));
  int fd;
  OK(psyne_server_watch(server, &fd));
  SAYS(PSYNE_TIMED_OUT, psyne_server_arm(server));
  uint64_t calls[3], asked = 1;
  OK(psyne_begin(client, &asked, 8, &calls[0]));
  asked = 2;
  OK(psyne_begin(client, &asked, 8, &calls[1]));
  SAYS(PSYNE_FULL, psyne_begin(client, &asked, 8, &calls[2]));
  CHECK(calls[2] == 0);
  SAYS(PSYNE_TOO_LONG, psyne_begin(client, &asked, 7, &calls[2]));
  struct pollfd wanted = {fd, POLLIN, 0};
  CHECK(poll(&wanted, 1, 60000) == 1);
  const void *message;
  SAYS(PSYNE_TIMED_OUT, psyne_finish(client, calls[0], 0, &message));
  for (int count = 0; count < 2; count++) {
    OK(psyne_server_next(server, LONG, &message));
    uint64_t answer = *(const uint64_t *)message * 10;
    OK(psyne_reply(server, &answer, 8));
    SAYS(PSYNE_CONFIG, psyne_reply(server, &answer, 8));
  }
  OK(psyne_finish(client, calls[1], LONG, &message));
  CHECK(*(const uint64_t *)message == 20);
  MISUSE(psyne_finish(client, calls[1], LONG, &message));
  MISUSE(psyne_finish(client, 77, LONG, &message));
  OK(psyne_finish(client, calls[0], LONG, &message));
  CHECK(*(const uint64_t *)message == 10);
  OK(psyne_begin(client, &asked, 8, &calls[0]));
  psyne_forget(client, calls[0]);
  psyne_forget(client, calls[0]);
  psyne_forget(NULL, 1);
  OK(psyne_begin(client, &asked, 8, &calls[1]));
  OK(psyne_server_next(server, LONG, &message));
  psyne_refuse(server);
  psyne_refuse(NULL);
  SAYS(PSYNE_REFUSED, psyne_finish(client, calls[1], LONG, &message));
  SAYS(PSYNE_TIMED_OUT, psyne_call(client, &asked, 8, 0, &message));
  MISUSE(psyne_begin(client, NULL, 8, &calls[0]));
  MISUSE(psyne_begin(client, &asked, 8, NULL));
  MISUSE(psyne_begin(NULL, &asked, 8, &calls[0]));
  MISUSE(psyne_call(NULL, &asked, 8, 0, &message));
  MISUSE(psyne_call(client, NULL, 8, 0, &message));
  MISUSE(psyne_call(client, &asked, 8, 0, NULL));
  MISUSE(psyne_finish(NULL, 1, 0, &message));
  MISUSE(psyne_finish(client, 1, 0, NULL));
  MISUSE(psyne_server_next(NULL, 0, &message));
  MISUSE(psyne_server_next(server, 0, NULL));
  MISUSE(psyne_reply(NULL, &asked, 8));
  MISUSE(psyne_reply(server, NULL, 8));
  psyne_client *mute;
  SAYS(PSYNE_CONFIG, psyne_client_open(at, PSYNE_BYTES, number(), NULL, &mute));
  SAYS(PSYNE_LAYOUT_MISMATCH,
       psyne_client_open(at, number(), psyne_layout_named("u32", 0, 0), NULL, &mute));
  psyne_server_close(&server);
  SAYS(PSYNE_CLOSED, psyne_call(client, &asked, 8, LONG, &message));
  psyne_client_close(&client);
  psyne_client_close(&client);
  MISUSE(psyne_call(client, &asked, 8, 0, &message));
}

static void a_descriptor_says_when_something_is_there(void) {
  psyne_receiver *to = receiver(address("memory", "fd"), PSYNE_BYTES, NULL);
  psyne_sender *from = sender(address("memory", "fd"), PSYNE_BYTES, NULL);
  int fd = -1, again = -2;
  MISUSE(psyne_arm(to));
  MISUSE(psyne_arm(NULL));
  MISUSE(psyne_watch(to, NULL));
  MISUSE(psyne_watch(NULL, &fd));
  OK(psyne_watch(to, &fd));
  OK(psyne_watch(to, &again));
  CHECK(fd == again && fd >= 0);
  SAYS(PSYNE_TIMED_OUT, psyne_arm(to));
  struct pollfd wanted = {fd, POLLIN, 0};
  CHECK(poll(&wanted, 1, 0) == 0);
  OK(psyne_send(from, "rings", 5));
  CHECK(poll(&wanted, 1, 60000) == 1);
  OK(psyne_arm(to));
  CHECK(is_next(to, "rings"));
  psyne_sender_close(&from);
  SAYS(PSYNE_CLOSED, psyne_arm(to));
  psyne_receiver_close(&to);
}

/* What the sides say of each other. */
static void every_answer_is_reachable(void) {
  psyne_config config = psyne_config_default();
  config.full = PSYNE_REFUSE;
  config.slots = 8;
  const char *at = address("ipc", "answers");
  psyne_receiver *to = receiver(at, number(), NULL), *crowd;
  psyne_sender *from, *other;
  SAYS(PSYNE_CROWDED, psyne_receiver_open(at, number(), NULL, &crowd));
  CHECK(crowd == NULL);
  psyne_layout twins = psyne_layout_array(number(), 2);
  SAYS(PSYNE_LAYOUT_MISMATCH, psyne_sender_open(at, twins, NULL, &other));
  SAYS(PSYNE_PATTERN_MISMATCH, psyne_sender_open(at, PSYNE_BYTES, NULL, &other));
  from = sender(at, number(), &config);
  uint64_t sent = 0;
  psyne_status status;
  while ((status = psyne_send(from, &sent, 8)) == PSYNE_OK) sent++;
  SAYS(PSYNE_FULL, status);
  CHECK(sent >= 8 && psyne_sender_stats(from).refused == 1);
  SAYS(PSYNE_TOO_LONG, psyne_send(from, &sent, 4));
  CHECK(psyne_error_number() == 8);
  void *room;
  SAYS(PSYNE_TOO_LONG, psyne_loan(from, 9, &room));
  for (uint64_t due = 0; due < sent; due++) CHECK(next(to) == due);
  const void *message;
  size_t bytes;
  SAYS(PSYNE_TIMED_OUT, psyne_recv(to, 1000, &message, &bytes));
  psyne_sender_close(&from);
  SAYS(PSYNE_CLOSED, wait_for(to));
  psyne_receiver_close(&to);

  config.full = PSYNE_BLOCK;
  config.full_ns = 1000;
  from = sender(at, number(), &config);
  while ((status = psyne_send(from, &sent, 8)) == PSYNE_OK) {}
  SAYS(PSYNE_TIMED_OUT, status);
  psyne_sender_close(&from);
}

static void a_death_is_heard(void) {
  char at[100];
  strcpy(at, address("ipc", "death"));
  int ready[2];
  CHECK(pipe(ready) == 0);
  /* Before this process has a channel between processes: what is open does not pass a fork. */
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    char go;
    CHECK(read(ready[0], &go, 1) == 1);
    psyne_sender *from = sender(at, PSYNE_BYTES, NULL);
    OK(psyne_send(from, "last", 4));
    kill(getpid(), SIGKILL);
  }
  psyne_receiver *to = receiver(at, PSYNE_BYTES, NULL);
  CHECK(write(ready[1], "g", 1) == 1);
  CHECK(is_next(to, "last"));
  SAYS(PSYNE_PEER_DIED, wait_for(to));
  CHECK(psyne_error_number() == (uint64_t)child);
  CHECK(waitpid(child, NULL, 0) == child);
  psyne_receiver_close(&to);
}

/* Pointers that are null, and handles that were closed, which are null. */
static void null_is_answered(void) {
  psyne_sender *from = NULL;
  psyne_receiver *to = NULL;
  const void *message;
  size_t bytes, count;
  uint64_t unread;
  void *room;
  MISUSE(psyne_sender_open(NULL, number(), NULL, &from));
  MISUSE(psyne_sender_open("memory://x", number(), NULL, NULL));
  MISUSE(psyne_receiver_open(NULL, number(), NULL, &to));
  MISUSE(psyne_receiver_open("memory://x", number(), NULL, NULL));
  from = sender(address("memory", "null"), PSYNE_BYTES, NULL);
  to = receiver(address("memory", "null"), PSYNE_BYTES, NULL);
  MISUSE(psyne_send(from, NULL, 3));
  MISUSE(psyne_send_marked(from, NULL, 3));
  OK(psyne_send(from, NULL, 0));
  MISUSE(psyne_loan(from, 3, NULL));
  MISUSE(psyne_unread(from, NULL));
  MISUSE(psyne_receivers(from, NULL));
  MISUSE(psyne_recv(to, 0, NULL, &bytes));
  MISUSE(psyne_recv(to, 0, &message, NULL));
  MISUSE(psyne_newest(to, NULL, &bytes));
  psyne_sender_close(&from);
  psyne_receiver_close(&to);
  CHECK(from == NULL && to == NULL);
  psyne_sender_close(&from);
  psyne_receiver_close(&to);
  psyne_sender_close(NULL);
  psyne_receiver_close(NULL);
  MISUSE(psyne_send(from, "x", 1));
  MISUSE(psyne_send_marked(from, "x", 1));
  MISUSE(psyne_loan(from, 1, &room));
  MISUSE(psyne_mark(from));
  MISUSE(psyne_commit(from));
  psyne_abort(from);
  MISUSE(psyne_unread(from, &unread));
  MISUSE(psyne_receivers(from, &count));
  CHECK(psyne_sender_stats(from).slots == 0 && psyne_receiver_stats(to).slots == 0);
  MISUSE(psyne_recv(to, 0, &message, &bytes));
  MISUSE(psyne_newest(to, &message, &bytes));
  psyne_release(to);
  MISUSE(psyne_tensor_dlpack(to, NULL));
  MISUSE(psyne_tensor_dlpack_send(from, NULL));
  MISUSE(psyne_tensor_arrow(to, NULL, NULL));
  MISUSE(psyne_tensor_arrow_send(from, NULL, NULL));
}

/* Loans and messages that are ended twice, or used beside each other. */
static void a_loan_is_sent_once(void) {
  psyne_sender *from = sender(address("memory", "loan"), PSYNE_BYTES, NULL);
  psyne_receiver *to = receiver(address("memory", "loan"), PSYNE_BYTES, NULL);
  void *room, *second;
  uint64_t unread;
  OK(psyne_loan(from, 4, &room));
  memcpy(room, "once", 4);
  MISUSE(psyne_loan(from, 4, &second));
  MISUSE(psyne_send(from, "x", 1));
  MISUSE(psyne_unread(from, &unread));
  SAYS(PSYNE_CONFIG, psyne_mark(from));
  OK(psyne_commit(from));
  MISUSE(psyne_commit(from));
  psyne_abort(from);
  OK(psyne_loan(from, 4, &room));
  psyne_abort(from);
  psyne_abort(from);
  MISUSE(psyne_commit(from));
  CHECK(is_next(to, "once"));
  psyne_release(to);
  psyne_release(to);
  const void *message;
  size_t bytes;
  SAYS(PSYNE_TIMED_OUT, psyne_recv(to, 0, &message, &bytes));
  MISUSE(psyne_send(from, from, (size_t)-1));
  SAYS(PSYNE_TOO_LONG, psyne_send(from, from, 1 << 20));
  SAYS(PSYNE_TOO_LONG, psyne_loan(from, (size_t)-1, &room));
  /* An end that is closed with a loan, or with a message, takes it along. */
  OK(psyne_send(from, "held", 4));
  OK(psyne_recv(to, LONG, &message, &bytes));
  struct DLManagedTensorVersioned *tensor;
  CHECK(psyne_tensor_dlpack(to, &tensor) != PSYNE_OK && tensor == NULL);
  OK(psyne_send(from, "held", 4));
  OK(psyne_recv(to, LONG, &message, &bytes));
  OK(psyne_loan(from, 4, &room));
  psyne_receiver_close(&to);
  psyne_sender_close(&from);
}

static void what_is_asked_for_is_checked(void) {
  psyne_sender *from;
  psyne_receiver *to;
  const char *names[] = {"", "x", "ipc://", "memory://", "tcp://x", "ipc://a b", "ipc://\xff\xfe"};
  for (size_t at = 0; at < sizeof names / sizeof *names; at++) {
    SAYS(PSYNE_ADDRESS, psyne_sender_open(names[at], number(), NULL, &from));
    CHECK(from == NULL);
  }
  char long_name[2000] = "ipc://";
  memset(long_name + 6, 'x', sizeof long_name - 7);
  SAYS(PSYNE_ADDRESS, psyne_receiver_open(long_name, number(), NULL, &to));
  const char *at = address("memory", "config");
  psyne_config config = psyne_config_default();
  uint32_t *numbers[] = {&config.pattern, &config.wait, &config.full, &config.lag};
  for (size_t which = 0; which < 4; which++) {
    config = psyne_config_default();
    *numbers[which] = 77;
    SAYS(PSYNE_CONFIG, psyne_sender_open(at, number(), &config, &from));
  }
  config = psyne_config_default();
  config.slots = 0;
  SAYS(PSYNE_CONFIG, psyne_sender_open(at, number(), &config, &from));
  config = psyne_config_default();
  config.pattern = PSYNE_LATEST;
  SAYS(PSYNE_CONFIG, psyne_receiver_open(at, PSYNE_BYTES, &config, &to));
  config.pattern = PSYNE_BROADCAST;
  config.lag = PSYNE_LAG_SKIP_TO_MARK;
  SAYS(PSYNE_CONFIG, psyne_receiver_open(at, number(), &config, &to));
  psyne_layout odd[] = {{1, 8, 3}, {1, 8, 128}, {1, 9, 8}, {1, (size_t)-8, 8}, {1, 0, 0}};
  for (size_t which = 0; which < sizeof odd / sizeof *odd; which++)
    SAYS(PSYNE_CONFIG, psyne_sender_open(at, odd[which], NULL, &from));
  CHECK(strcmp(psyne_status_code(PSYNE_LAGGED), "lagged") == 0);
  CHECK(strcmp(psyne_status_code(-1), "other") == 0 && strcmp(psyne_status_code(99), "other") == 0);
}

int main(void) {
  a_death_is_heard();
  many_send_to_one();
  each_of_many_takes_some();
  strings_are_broadcast();
  events_are_counted();
  calls_end_in_any_order();
  a_descriptor_says_when_something_is_there();
  every_answer_is_reachable();
  null_is_answered();
  a_loan_is_sent_once();
  what_is_asked_for_is_checked();
  puts("every promise was kept");
  return 0;
}
