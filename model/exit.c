/* SPDX-License-Identifier: Apache-2.0 */
/* model/exit.c - values and decisions of the exit rules; see model/exit.h. */
#include "model/exit.h"

#include <math.h>

double model_exit_diff(const float *z, const float *z_prev, int32_t n)
{
    double moved = 0.0, length = 0.0;
    for (int32_t i = 0; i < n; i++) {
        double delta = (double)z[i] - (double)z_prev[i];
        moved += delta * delta;
        length += (double)z[i] * (double)z[i];
    }
    return sqrt(moved) / sqrt(length);
}

double model_exit_mean(const double *values, int32_t n_positions)
{
    double sum = 0.0;
    for (int32_t i = 0; i < n_positions; i++)
        sum += values[i];
    return sum / n_positions;
}

bool model_exit_wants_value(const struct model_exit_rule *rule, int32_t steps_done)
{
    return rule->kind == MODEL_EXIT_LATENT_DIFF && steps_done >= rule->min_steps &&
           steps_done < rule->max_steps;
}

bool model_exit_now(const struct model_exit_rule *rule, int32_t steps_done, double value)
{
    if (steps_done >= rule->max_steps)
        return true;
    return model_exit_wants_value(rule, steps_done) && value < rule->threshold;
}
