#include <unistd.h>

#include "example.h"

static const char HELP[] =
    "Byte strings of 64 KiB between two processes, by the fast door: a frame is written where it\n"
    "is read, and nothing is copied.\n"
    "\n"
    "    frames recv ipc://frames           # one terminal\n"
    "    frames send ipc://frames 10000     # another\n";

enum { FRAME_BYTES = 64 << 10, SLOTS = 1 << 16 /* lines of 64 bytes: 4 MiB */ };

static int receive(const char *address) {
  psyne_receiver *frames;
  psyne_status status = psyne_receiver_open(address, PSYNE_BYTES, NULL, &frames);
  if (status != PSYNE_OK) return fail(status);
  uint64_t count = 0, sum = 0;
  const void *frame;
  size_t bytes;
  while ((status = psyne_recv(frames, -1, &frame, &bytes)) == PSYNE_OK) {
    for (size_t at = 0; at < bytes; at++) sum += ((const uint8_t *)frame)[at];
    count++;
  }
  if (status != PSYNE_CLOSED) return fail(status);
  psyne_receiver_close(&frames);
  printf("received %" PRIu64 " frames, sum %" PRIu64 "\n", count, sum);
  return 0;
}

static int send_frames(const char *address, uint64_t count) {
  psyne_config config = psyne_config_default();
  config.slots = SLOTS;
  psyne_sender *frames;
  psyne_status status = psyne_sender_open(address, PSYNE_BYTES, &config, &frames);
  for (uint64_t at = 0; status == PSYNE_OK && at < count; at++) {
    void *room;
    if ((status = psyne_loan(frames, FRAME_BYTES, &room)) != PSYNE_OK) break;
    memset(room, (int)(at & 0xff), FRAME_BYTES);
    status = psyne_commit(frames);
  }
  /* Frames lie in this process's ring: wait until all of them were read. */
  uint64_t unread = 1;
  while (status == PSYNE_OK && (status = psyne_unread(frames, &unread)) == PSYNE_OK && unread > 0)
    usleep(1000);
  if (status != PSYNE_OK) return fail(status);
  psyne_sender_close(&frames);
  printf("sent %" PRIu64 " frames\n", count);
  return 0;
}

int main(int argc, char **argv) {
  if (is(argc, argv, "recv", 1)) return receive(argv[2]);
  if (is(argc, argv, "send", 2)) return send_frames(argv[2], strtoull(argv[3], NULL, 10));
  return help(argc, argv, HELP);
}
