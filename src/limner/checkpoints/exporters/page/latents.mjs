// Latents of seeds, number for number those of limner (sampling/latents.py): torch's generator on
// the CPU, in double precision, seeded by a digest.

const WORDS = 624, SHIFT = 397; // of the Mersenne Twister (Matsumoto & Nishimura 1998)
const CONSTANTS = primes(64).map((prime) => fraction(Math.cbrt(prime)));

function primes(count) {
  const found = [];
  for (let n = 2; found.length < count; n++) {
    if (found.every((prime) => n % prime)) found.push(n);
  }
  return found;
}

function fraction(x) {
  return Math.floor((x - Math.floor(x)) * 2 ** 32) | 0;
}

/** First word, read from the low byte, of the sha256 of a text of at most 55 bytes (FIPS 180-4). */
export function digestWord(text) {
  const bytes = new TextEncoder().encode(text), view = new DataView(new ArrayBuffer(64));
  bytes.forEach((byte, i) => view.setUint8(i, byte));
  view.setUint8(bytes.length, 0x80);
  view.setUint32(60, 8 * bytes.length);
  const w = Array.from({ length: 16 }, (_, i) => view.getInt32(4 * i));
  const turn = (x, n) => (x >>> n) | (x << (32 - n));
  for (let i = 16; i < 64; i++) {
    const low = turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ (w[i - 15] >>> 3);
    const high = turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ (w[i - 2] >>> 10);
    w[i] = (w[i - 16] + low + w[i - 7] + high) | 0;
  }
  const start = primes(8).map((prime) => fraction(Math.sqrt(prime)));
  let [a, b, c, d, e, f, g, h] = start;
  for (let i = 0; i < 64; i++) {
    const mixed = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25), chosen = (e & f) ^ (~e & g);
    const first = (h + mixed + chosen + CONSTANTS[i] + w[i]) | 0;
    const major = (a & b) ^ (a & c) ^ (b & c);
    const second = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + major) | 0;
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + first) | 0, c, b, a, (first + second) | 0];
  }
  view.setInt32(0, a + start[0]);
  return view.getUint32(0, true);
}

/** Uniform numbers of [0, 1) with 53 bits, as torch draws them for float64. */
export class Uniform {
  constructor(seed) {
    this.state = new Uint32Array(WORDS);
    this.state[0] = seed;
    for (let i = 1; i < WORDS; i++) {
      const before = this.state[i - 1] ^ (this.state[i - 1] >>> 30);
      this.state[i] = Math.imul(1812433253, before) + i;
    }
    this.place = WORDS;
  }

  word() {
    const s = this.state;
    if (this.place === WORDS) {
      for (let i = 0; i < WORDS; i++) {
        const y = (s[i] & 0x80000000) | (s[(i + 1) % WORDS] & 0x7fffffff);
        s[i] = s[(i + SHIFT) % WORDS] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
      }
      this.place = 0;
    }
    let y = s[this.place++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  next() {
    const high = this.word() & 0x1fffff; // 21 of the 53 bits
    return (high * 2 ** 32 + this.word()) * 2 ** -53;
  }
}

/** Standard normal numbers by Box and Muller, in torch's order. */
export function normals(uniform, count) {
  const z = new Float64Array(count);
  if (count < 16) {
    for (let i = 0; i < count; i += 2) {
      const angle = 2 * Math.PI * uniform.next(), radius = Math.sqrt(-2 * Math.log1p(-uniform.next()));
      z[i] = radius * Math.cos(angle);
      if (i + 1 < count) z[i + 1] = radius * Math.sin(angle);
    }
    return z;
  }
  for (let i = 0; i < count; i++) z[i] = uniform.next();
  for (let i = 0; i <= count - 16; i += 16) pairs(z, i);
  if (count % 16) {
    for (let i = count - 16; i < count; i++) z[i] = uniform.next();
    pairs(z, count - 16);
  }
  return z;
}

function pairs(z, begin) {
  for (let i = begin; i < begin + 8; i++) {
    const radius = Math.sqrt(-2 * Math.log(1 - z[i])), angle = 2 * Math.PI * z[i + 8];
    z[i] = radius * Math.cos(angle);
    z[i + 8] = radius * Math.sin(angle);
  }
}

/** The error function by a series of positive terms, for |x| < 6. */
export function erf(x) {
  let term = x, sum = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

/** Its inverse by Newton's method, inside bounds that halve where a step leaves them. */
export function erfinv(p) {
  if (p < 0) return -erfinv(-p);
  let low = 0, high = 6, x = p;
  for (let i = 0; i < 100; i++) {
    const gap = erf(x) - p;
    if (gap > 0) high = x;
    else low = x;
    let next = x - (gap * Math.sqrt(Math.PI) * Math.exp(x * x)) / 2;
    if (!(next >= low && next <= high)) next = (low + high) / 2;
    if (Math.abs(next - x) <= 1e-16 * Math.max(1, x)) return next;
    x = next;
  }
  return x;
}

/** The latent of a seed; with a bound, what lies beyond is drawn again inside. */
export function latent(seed, size, bound = null) {
  const uniform = new Uniform(digestWord(`latent/${seed}`));
  const z = normals(uniform, size);
  if (bound === null) return Float32Array.from(z);
  const edge = bound > 8 ? 1 : erf(bound / Math.SQRT2);
  return Float32Array.from(z, (value) => {
    const inside = Math.SQRT2 * erfinv((uniform.next() * 2 - 1) * edge);
    const kept = Math.abs(value) > bound ? inside : value;
    return Math.min(Math.max(kept, -bound), bound);
  });
}
