/* Byte strings of 64 KiB between two processes, by the fast door: a frame is written where it is
 * read, and nothing is copied.
 *
 *     frames recv ipc://frames
 *     frames send ipc://frames 10000
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "psyne.h"

enum { FRAME_BYTES = 64 << 10, SLOTS = 1 << 16 /* lines of 64 bytes: 4 MiB */ };

static int fail(psyne_status status) {
  fprintf(stderr, "%s: %s\n", psyne_status_code(status), psyne_error_text());
  return 1;
}

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
  psyne_receiver_close(frames);
  if (status != PSYNE_CLOSED) return fail(status);
  printf("received %" PRIu64 " frames, sum %" PRIu64 "\n", count, sum);
  return 0;
}

static int send_frames(const char *address, uint64_t count) {
  psyne_config config = psyne_config_default();
  config.slots = SLOTS;
  psyne_sender *frames;
  psyne_status status = psyne_sender_open(address, PSYNE_BYTES, &config, &frames);
  for (uint64_t number = 0; status == PSYNE_OK && number < count; number++) {
    void *room;
    status = psyne_loan(frames, FRAME_BYTES, &room);
    if (status != PSYNE_OK) break;
    memset(room, (int)(number & 0xff), FRAME_BYTES);
    status = psyne_commit(frames);
  }
  /* Frames lie in this process's ring: wait until all of them were read. */
  uint64_t unread = 1;
  while (status == PSYNE_OK && (status = psyne_unread(frames, &unread)) == PSYNE_OK && unread > 0)
    usleep(1000);
  psyne_sender_close(frames);
  if (status != PSYNE_OK) return fail(status);
  printf("sent %" PRIu64 " frames\n", count);
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "recv") == 0) return receive(argv[2]);
  if (argc == 4 && strcmp(argv[1], "send") == 0)
    return send_frames(argv[2], strtoull(argv[3], NULL, 10));
  fprintf(stderr, "usage: frames recv ADDRESS | frames send ADDRESS COUNT\n");
  return 1;
}
