/* How the processes (ranks) that train one model reach each other: what a module such as
 * mpi/mpi_transport.c gives the program that loads it. C, so that module and program share nothing
 * else. */
#pragma once

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct RankTransport {
  int rank, count;
  void* context;
  /* Sends to a peer and receives from it, both at once; sizes in bytes, 0 for nothing. Returns when
   * both are done; a peer that is gone ends the job. */
  void (*exchange)(void* context, int peer, const void* send, size_t send_bytes, void* receive,
                   size_t receive_bytes);
  void (*leave)(void* context);           /* the orderly end, called by every rank */
  void (*abort)(void* context, int code); /* ends all ranks */
};

/* What a module defines. Returns 0, or another number when it cannot. */
int geist_join_ranks(struct RankTransport* transport);

#ifdef __cplusplus
}
#endif
