#include <signal.h>

#include "example.h"

static const char HELP[] =
    "A queue of work whose worker may be killed at any instant: another takes its place, and\n"
    "nothing is lost. The job that the dead one was about may be done again, and no other.\n"
    "\n"
    "    jobs give ipc://jobs 10000     # one terminal\n"
    "    jobs work ipc://jobs 5000      # another: kills itself (-9) amid its 5000th job\n"
    "    jobs work ipc://jobs           # the same again, without accident\n"
    "\n"
    "Jobs go by one queue, results by another. A job is released after its result was sent:\n"
    "whoever dies in between leaves it to its successor.\n";

/* The same in every language: its name and fields are checked when the two sides meet. */
typedef struct {
  uint64_t number;
} job;

typedef struct {
  uint64_t number;
  uint64_t square;
} done;

static psyne_layout job_layout(void) {
  psyne_layout layout = psyne_layout_named("Job", sizeof(job), _Alignof(job));
  return psyne_layout_field(layout, "number", number("u64"));
}

static psyne_layout done_layout(void) {
  psyne_layout layout = psyne_layout_named("Done", sizeof(done), _Alignof(done));
  layout = psyne_layout_field(layout, "number", number("u64"));
  return psyne_layout_field(layout, "square", number("u64"));
}

/* Jobs given out and not done yet: fewer than the queues have slots, so nobody waits for room. */
enum { AHEAD_MAX = 500, ADDRESS_BYTES_MAX = 80 };

/* Opens one end of each queue: `jobs` or `results` is the one that sends. */
static psyne_status open_both(const char *address, int gives, psyne_sender **sender,
                              psyne_receiver **receiver) {
  char jobs[ADDRESS_BYTES_MAX], results[ADDRESS_BYTES_MAX];
  snprintf(jobs, sizeof jobs, "%s/jobs", address);
  snprintf(results, sizeof results, "%s/done", address);
  psyne_layout sent = gives ? job_layout() : done_layout();
  psyne_layout received = gives ? done_layout() : job_layout();
  psyne_status status = psyne_receiver_open(gives ? results : jobs, received, NULL, receiver);
  if (status != PSYNE_OK) return status;
  return psyne_sender_open(gives ? jobs : results, sent, NULL, sender);
}

static int give(const char *address, uint64_t count) {
  psyne_sender *jobs;
  psyne_receiver *results;
  psyne_status status = open_both(address, 1, &jobs, &results);
  uint64_t given = 0, finished = 0, again = 0, died = 0;
  while (status == PSYNE_OK && finished < count) {
    for (; status == PSYNE_OK && given < count && given - finished < AHEAD_MAX; given++)
      status = psyne_send(jobs, &(job){given}, sizeof(job));
    if (status != PSYNE_OK) break;
    const void *message;
    size_t bytes;
    status = psyne_recv(results, -1, &message, &bytes);
    if (status == PSYNE_PEER_DIED) {
      died++;
      status = PSYNE_OK;
      continue;
    }
    if (status != PSYNE_OK) break;
    const done *result = message;
    /* Each worker does its jobs in order, and its successor goes on where it stopped. */
    if (result->number == finished && result->square == finished * finished) {
      finished++;
    } else if (result->number + 1 == finished) {
      again++;
    } else {
      fprintf(stderr, "%" PRIu64 " was done in the place of %" PRIu64 "\n", result->number, finished);
      return 1;
    }
  }
  if (status != PSYNE_OK) return fail(status);
  psyne_sender_close(&jobs);
  psyne_receiver_close(&results);
  printf("%" PRIu64 " jobs done, %" PRIu64 " done again, %" PRIu64 " workers died\n", count, again,
         died);
  return 0;
}

static int work(const char *address, uint64_t last) {
  psyne_sender *results;
  psyne_receiver *jobs;
  psyne_status status = open_both(address, 0, &results, &jobs);
  if (status != PSYNE_OK) return fail(status);
  uint64_t count = 0;
  const void *message;
  size_t bytes;
  while ((status = psyne_recv(jobs, -1, &message, &bytes)) == PSYNE_OK) {
    uint64_t at = ((const job *)message)->number;
    status = psyne_send(results, &(done){at, at * at}, sizeof(done));
    if (status != PSYNE_OK) return fail(status);
    if (++count == last) raise(SIGKILL);
    /* The job is released when the next one is received. */
  }
  if (status != PSYNE_CLOSED) return fail(status);
  psyne_receiver_close(&jobs);
  psyne_sender_close(&results);
  printf("did %" PRIu64 " jobs\n", count);
  return 0;
}

int main(int argc, char **argv) {
  if (is(argc, argv, "give", 2)) return give(argv[2], strtoull(argv[3], NULL, 10));
  if (is(argc, argv, "work", 1)) return work(argv[2], UINT64_MAX);
  if (is(argc, argv, "work", 2)) return work(argv[2], strtoull(argv[3], NULL, 10));
  return help(argc, argv, HELP);
}
