/* One epoch of the task by hand: forward, backward, Adam, noise and shuffling.
 *
 * Activations are kept feature by feature, ROWS values each, so that every inner loop runs along
 * the rows and the compiler turns it into vector instructions. A batch is walked in blocks of
 * ROWS rows, which keeps a block's activations near the core.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { ROWS = 128, FEATURES = 6, FIRST = 32, SECOND = 16, LATENT = 10 };
enum { LAYERS = 6, WEIGHTS = 2010 };

static const int INPUTS[LAYERS] = {FEATURES, FIRST, SECOND, LATENT, SECOND, FIRST};
static const int OUTPUTS[LAYERS] = {FIRST, SECOND, 2 * LATENT, SECOND, FIRST, FEATURES};

typedef float Block[FIRST][ROWS] __attribute__((aligned(64)));

/* A counter hashed to 32 bits (two rounds of multiply and shift): loops over it have no order. */
static inline uint32_t hashed(uint32_t x) {
    x ^= x >> 16;
    x *= 0x7feb352dU;
    x ^= x >> 15;
    x *= 0x846ca68bU;
    return x ^ (x >> 16);
}

/* Box and Muller (1958). */
static void draw_normal(float *out, int count, uint32_t seed) {
    for (int k = 0; k < count / 2; k++) {
        float radius = (hashed(seed + 2 * k) >> 8) * 0x1p-24f + 0x1p-25f;
        float angle = (hashed(seed + 2 * k + 1) >> 8) * 0x1p-24f * 6.2831853f;
        float length = sqrtf(-2.0f * logf(radius));
        out[k] = length * cosf(angle);
        out[k + count / 2] = length * sinf(angle);
    }
}

static void forward(const float *w, int inputs, int outputs, Block in, Block out, int relu) {
    const float *bias = w + inputs * outputs;
    for (int o = 0; o < outputs; o++) {
        float sum[ROWS];
        for (int r = 0; r < ROWS; r++) sum[r] = bias[o];
        for (int i = 0; i < inputs; i++) {
            float weight = w[o * inputs + i];
            for (int r = 0; r < ROWS; r++) sum[r] += weight * in[i][r];
        }
        if (relu)
            for (int r = 0; r < ROWS; r++) sum[r] = sum[r] > 0.0f ? sum[r] : 0.0f;
        memcpy(out[o], sum, sizeof sum);
    }
}

/* Adds to the gradient of one layer and, where into is given, passes it on. */
static void backward(const float *w, float *grad, int inputs, int outputs, Block in, Block slope,
                     float (*into)[ROWS], int relu) {
    float *bias = grad + inputs * outputs;
    for (int o = 0; o < outputs; o++) {
        float total = 0.0f;
        for (int r = 0; r < ROWS; r++) total += slope[o][r];
        bias[o] += total;
        for (int i = 0; i < inputs; i++) {
            float sum = 0.0f;
            for (int r = 0; r < ROWS; r++) sum += slope[o][r] * in[i][r];
            grad[o * inputs + i] += sum;
        }
    }
    if (!into) return;
    for (int i = 0; i < inputs; i++) {
        float sum[ROWS] = {0.0f};
        for (int o = 0; o < outputs; o++) {
            float weight = w[o * inputs + i];
            for (int r = 0; r < ROWS; r++) sum[r] += weight * slope[o][r];
        }
        if (relu)
            for (int r = 0; r < ROWS; r++) sum[r] = in[i][r] > 0.0f ? sum[r] : 0.0f;
        memcpy(into[i], sum, sizeof sum);
    }
}

/* Kingma and Ba (2015), in the order of operations of torch.optim.Adam. */
static void adam(float *w, float *first, float *second, const float *grad, float rate, long step) {
    double scale = rate / (1.0 - pow(0.9, (double)step));
    float root = (float)sqrt(1.0 - pow(0.999, (double)step));
    for (int k = 0; k < WEIGHTS; k++) {
        first[k] = 0.9f * first[k] + 0.1f * grad[k];
        second[k] = 0.999f * second[k] + 0.001f * grad[k] * grad[k];
        w[k] -= (float)scale * first[k] / (sqrtf(second[k]) / root + 1e-8f);
    }
}

/* Trains one epoch in place and returns the mean of SSE + beta KL per row. */
double epoch(const float *table, int *order, int rows, int batch, float beta, float rate,
             float *w, float *first, float *second, long *step, uint32_t seed) {
    static Block in, hidden1, hidden2, posterior, latent, hidden4, hidden5, output;
    static Block slope_a, slope_b;
    static float noise[LATENT * ROWS] __attribute__((aligned(64)));
    int at[LAYERS + 1] = {0};
    for (int l = 0; l < LAYERS; l++) at[l + 1] = at[l] + INPUTS[l] * OUTPUTS[l] + OUTPUTS[l];
    for (int k = rows - 1; k > 0; k--) {
        int other = (int)(((uint64_t)hashed(seed + (uint32_t)k) * (uint64_t)(k + 1)) >> 32);
        int kept = order[k];
        order[k] = order[other];
        order[other] = kept;
    }
    double total = 0.0;
    uint32_t drawn = hashed(seed ^ 0x9e3779b9U);
    for (int start = 0; start < rows; start += batch) {
        int size = rows - start < batch ? rows - start : batch;
        float grad[WEIGHTS] = {0.0f};
        for (int done = 0; done < size; done += ROWS) {
            int here = size - done < ROWS ? size - done : ROWS;
            const int *pick = order + start + done;
            for (int r = 0; r < ROWS; r++) {
                const float *row = table + (long)FEATURES * pick[r < here ? r : 0];
                for (int f = 0; f < FEATURES; f++) in[f][r] = row[f];
            }
            draw_normal(noise, LATENT * ROWS, drawn);
            drawn += LATENT * ROWS;
            forward(w + at[0], INPUTS[0], OUTPUTS[0], in, hidden1, 1);
            forward(w + at[1], INPUTS[1], OUTPUTS[1], hidden1, hidden2, 1);
            forward(w + at[2], INPUTS[2], OUTPUTS[2], hidden2, posterior, 0);
            for (int j = 0; j < LATENT; j++)
                for (int r = 0; r < ROWS; r++)
                    latent[j][r] = posterior[j][r] +
                                   expf(0.5f * posterior[LATENT + j][r]) * noise[j * ROWS + r];
            forward(w + at[3], INPUTS[3], OUTPUTS[3], latent, hidden4, 1);
            forward(w + at[4], INPUTS[4], OUTPUTS[4], hidden4, hidden5, 1);
            forward(w + at[5], INPUTS[5], OUTPUTS[5], hidden5, output, 0);

            float counted[ROWS]; /* 1 / batch, or 0 for the rows that only fill the block */
            for (int r = 0; r < ROWS; r++) counted[r] = r < here ? 1.0f / (float)size : 0.0f;
            float squared = 0.0f, divergence = 0.0f;
            for (int f = 0; f < FEATURES; f++)
                for (int r = 0; r < ROWS; r++) {
                    float error = output[f][r] - in[f][r];
                    squared += counted[r] * error * error;
                    slope_a[f][r] = 2.0f * counted[r] * error;
                }
            backward(w + at[5], grad + at[5], INPUTS[5], OUTPUTS[5], hidden5, slope_a, slope_b, 1);
            backward(w + at[4], grad + at[4], INPUTS[4], OUTPUTS[4], hidden4, slope_b, slope_a, 1);
            backward(w + at[3], grad + at[3], INPUTS[3], OUTPUTS[3], latent, slope_a, slope_b, 0);
            for (int j = 0; j < LATENT; j++)
                for (int r = 0; r < ROWS; r++) {
                    float mean = posterior[j][r], log_variance = posterior[LATENT + j][r];
                    float deviation = expf(0.5f * log_variance);
                    float variance = deviation * deviation, passed = slope_b[j][r];
                    divergence +=
                        0.5f * counted[r] * (mean * mean + variance - 1.0f - log_variance);
                    slope_a[j][r] = passed + beta * counted[r] * mean;
                    slope_a[LATENT + j][r] = 0.5f * passed * deviation * noise[j * ROWS + r] +
                                             0.5f * beta * counted[r] * (variance - 1.0f);
                }
            backward(w + at[2], grad + at[2], INPUTS[2], OUTPUTS[2], hidden2, slope_a, slope_b, 1);
            backward(w + at[1], grad + at[1], INPUTS[1], OUTPUTS[1], hidden1, slope_b, slope_a, 1);
            backward(w + at[0], grad + at[0], INPUTS[0], OUTPUTS[0], in, slope_a, 0, 0);
            total += (double)(squared + beta * divergence) * size;
        }
        adam(w, first, second, grad, rate, ++*step);
    }
    return total / rows;
}
