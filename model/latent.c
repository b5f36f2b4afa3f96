/* SPDX-License-Identifier: Apache-2.0 */
/* model/latent.c - counter-based draws; see model/latent.h. */
#include "model/latent.h"

#include <math.h>
#include <string.h>

/* Multipliers and key increments of Philox4x32 (Salmon et al. 2011, table 2 and §3.3). */
#define PHILOX_M0     0xD2511F53u
#define PHILOX_M1     0xCD9E8D57u
#define PHILOX_W0     0x9E3779B9u /* golden ratio */
#define PHILOX_W1     0xBB67AE85u /* sqrt(3) - 1 */
#define PHILOX_ROUNDS 10

void model_philox(const uint32_t ctr[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = ctr[0], c1 = ctr[1], c2 = ctr[2], c3 = ctr[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        uint64_t p0 = (uint64_t)PHILOX_M0 * c0;
        uint64_t p1 = (uint64_t)PHILOX_M1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

static void draw_block(uint64_t seed, int32_t position, enum model_stream stream, uint32_t block,
                       uint32_t out[4])
{
    const uint32_t ctr[4] = {block, (uint32_t)position, (uint32_t)stream, 0};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    model_philox(ctr, key, out);
}

/* 53 random bits from two words. */
static uint64_t bits53(uint32_t high, uint32_t low)
{
    return ((uint64_t)high << 32 | low) >> 11;
}

double model_draw_uniform(uint64_t seed, int32_t position, enum model_stream stream)
{
    uint32_t words[4];
    draw_block(seed, position, stream, 0, words);
    return (double)bits53(words[0], words[1]) * 0x1p-53;
}

/* Horner's rule over eight coefficients, lowest power first. */
static double poly7(const double c[8], double x)
{
    double y = c[7];
    for (int i = 6; i >= 0; i--)
        y = y * x + c[i];
    return y;
}

double model_normal_quantile(double p)
{
    /* AS 241: centre |p - 1/2| <= 0.425, then r <= 5 and the far tail. */
    static const double a[8] = {3.3871328727963666080e0, 1.3314166789178437745e2,
                                1.9715909503065514427e3, 1.3731693765509461125e4,
                                4.5921953931549871457e4, 6.7265770927008700853e4,
                                3.3430575583588128105e4, 2.5090809287301226727e3};
    static const double b[8] = {1.0,
                                4.2313330701600911252e1,
                                6.8718700749205790830e2,
                                5.3941960214247511077e3,
                                2.1213794301586595867e4,
                                3.9307895800092710610e4,
                                2.8729085735721942674e4,
                                5.2264952788528545610e3};
    static const double c[8] = {1.42343711074968357734e0,  4.63033784615654529590e0,
                                5.76949722146069140550e0,  3.64784832476320460504e0,
                                1.27045825245236838258e0,  2.41780725177450611770e-1,
                                2.27238449892691845833e-2, 7.74545014278341407640e-4};
    static const double d[8] = {1.0,
                                2.05319162663775882187e0,
                                1.67638483018380384940e0,
                                6.89767334985100004550e-1,
                                1.48103976427480074590e-1,
                                1.51986665636164571966e-2,
                                5.47593808499534494600e-4,
                                1.05075007164441684324e-9};
    static const double e[8] = {6.65790464350110377720e0,  5.46378491116411436990e0,
                                1.78482653991729133580e0,  2.96560571828504891230e-1,
                                2.65321895265761230930e-2, 1.24266094738807843860e-3,
                                2.71155556874348757815e-5, 2.01033439929228813265e-7};
    static const double f[8] = {1.0,
                                5.99832206555887937690e-1,
                                1.36929880922735805310e-1,
                                1.48753612908506148525e-2,
                                7.86869131145613259100e-4,
                                1.84631831751005468180e-5,
                                1.42151175831644588870e-7,
                                2.04426310338993978564e-15};
    double q = p - 0.5;
    if (fabs(q) <= 0.425) {
        double r = 0.180625 - q * q;
        return q * poly7(a, r) / poly7(b, r);
    }
    double r = sqrt(-log(q < 0.0 ? p : 1.0 - p));
    double x =
        r <= 5.0 ? poly7(c, r - 1.6) / poly7(d, r - 1.6) : poly7(e, r - 5.0) / poly7(f, r - 5.0);
    return q < 0.0 ? -x : x;
}

/* Mass of the standard normal below -3, and between -3 and 3. */
#define TAIL_BELOW_3 0.0013498980316300946
#define MASS_INSIDE  0.9973002039367398

/* One standard normal cut at +-3 from 53 bits; the half keeps p away from both ends. */
static double truncated_normal(uint64_t bits)
{
    double u = ((double)bits + 0.5) * 0x1p-53;
    double z = model_normal_quantile(TAIL_BELOW_3 + u * MASS_INSIDE);
    return z < -3.0 ? -3.0 : z > 3.0 ? 3.0 : z;
}

void model_latent_init(float *out, int32_t n, uint64_t seed, int32_t position, float init_scale)
{
    if (!(init_scale > 0.0f)) {
        memset(out, 0, (size_t)n * sizeof *out);
        return;
    }
    /* sigma = init_scale * sqrt(2 / (5n)), times the embedding scale sqrt(n). */
    double sigma = (double)init_scale * sqrt(0.4);
    uint32_t words[4] = {0};
    for (int32_t i = 0; i < n; i++) {
        if (i % 2 == 0)
            draw_block(seed, position, MODEL_STREAM_LATENT, (uint32_t)(i / 2), words);
        const uint32_t *pair = words + 2 * (i % 2);
        out[i] = (float)(sigma * truncated_normal(bits53(pair[0], pair[1])));
    }
}
