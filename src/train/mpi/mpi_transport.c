/* The transport of rank_transport.h over MPI. A module of its own, loaded when geist is started by
 * mpirun or srun: geist itself does not depend on MPI. */
#include <limits.h>
#include <mpi.h>

#include "train/rank_transport.h"

static void exchange(void* context, int peer, const void* send, size_t send_bytes, void* receive,
                     size_t receive_bytes) {
  (void)context;
  if (send_bytes > INT_MAX || receive_bytes > INT_MAX) MPI_Abort(MPI_COMM_WORLD, 1);
  MPI_Sendrecv(send, (int)send_bytes, MPI_BYTE, peer, 0, receive, (int)receive_bytes, MPI_BYTE,
               peer, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

static void leave(void* context) {
  (void)context;
  MPI_Finalize();
}

static void abort_job(void* context, int code) {
  (void)context;
  MPI_Abort(MPI_COMM_WORLD, code);
}

int geist_join_ranks(struct RankTransport* transport) {
  int provided = 0;
  if (MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided) != MPI_SUCCESS) return 1;
  if (provided < MPI_THREAD_SERIALIZED) return 2;
  MPI_Comm_rank(MPI_COMM_WORLD, &transport->rank);
  MPI_Comm_size(MPI_COMM_WORLD, &transport->count);
  transport->context = NULL;
  transport->exchange = exchange;
  transport->leave = leave;
  transport->abort = abort_job;
  return 0;
}
