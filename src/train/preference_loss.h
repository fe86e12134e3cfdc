// Losses of preferences, each with its derivatives, in double and in one order of evaluation. A
// log-probability is the sum over an answer's tokens; its derivative is then that of each token's.
#pragma once

#include <cstdint>
#include <span>

namespace geist::train {

double log_sigmoid(double x);  // without overflow on either side
double sigmoid(double x);

// A model's log-probability of an answer, and the reference model's.
struct AnswerLogs {
  double policy = 0, reference = 0;
  int64_t tokens = 1;
  double ratio() const { return policy - reference; }
};

struct PairLoss {
  double loss = 0;
  double d_chosen = 0, d_rejected = 0;  // by the policy's log-probabilities
  double margin = 0;                    // of the implicit rewards
};

// Direct preference optimisation (Rafailov et al., arXiv:2305.18290):
// -log sigmoid(beta (h_chosen - h_rejected)), h the log-ratio to the reference. smoothing: the
// share of pairs whose order is wrong (conservative DPO).
PairLoss dpo_loss(const AnswerLogs& chosen, const AnswerLogs& rejected, double beta,
                  double smoothing);

// Identity preference optimisation (Azar et al., arXiv:2310.12036): (h_chosen - h_rejected -
// 1/(2 beta))^2, with h the mean over an answer's tokens: of sums the target would mean less the
// longer the answers.
PairLoss ipo_loss(const AnswerLogs& chosen, const AnswerLogs& rejected, double beta);

struct AnswerLoss {
  double loss = 0, d = 0;
};
// Kahneman-Tversky optimisation (Ethayarajh et al., arXiv:2402.01306): weight (1 - sigmoid(+-beta
// (h
// - kl))), + for a desirable answer. kl: the estimate of the batch, which has no gradient.
AnswerLoss kto_loss(const AnswerLogs& answer, bool desirable, double kl, double beta,
                    double weight);

// The likelihood of a ranking under rewards (Plackett-Luce; of two: Bradley-Terry): the sum over
// all but the last of -log(exp(r_i) / sum over j >= i of exp(r_j)). rewards: best first; d: the
// derivative by each.
double ranking_loss(std::span<const double> rewards, std::span<double> d);

}  // namespace geist::train
