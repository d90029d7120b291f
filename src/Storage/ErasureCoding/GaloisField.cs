namespace ObjectStore.Storage.ErasureCoding;

/// <summary>
/// GF(2^8) modulo x^8 + x^4 + x^3 + x^2 + 1 (0x11D), in which 2 generates every non-zero element. Addition and subtraction are XOR.
/// The polynomial is part of the on-disk format: parity written under it can be read under no other.
/// </summary>
internal static class GaloisField
{
    private const int Polynomial = 0x11D;

    // Exponents run to 508 = 254 + 254, so that a product needs no reduction modulo 255.
    private static readonly byte[] Exponential = new byte[510];
    private static readonly byte[] Logarithm = new byte[256];

    private static readonly byte[] Products = new byte[256 * 256];

    static GaloisField()
    {
        int value = 1;
        for (int exponent = 0; exponent < 255; exponent++)
        {
            Exponential[exponent] = Exponential[exponent + 255] = (byte)value;
            Logarithm[value] = (byte)exponent;
            value <<= 1;
            if (value > 0xFF)
                value ^= Polynomial;
        }

        for (int a = 0; a < 256; a++)
        {
            for (int b = 0; b < 256; b++)
                Products[(a * 256) + b] = Multiply((byte)a, (byte)b);
        }
    }

    public static byte Multiply(byte a, byte b) => a == 0 || b == 0 ? (byte)0 : Exponential[Logarithm[a] + Logarithm[b]];

    /// <summary>The products of <paramref name="a"/> with 0 to 255.</summary>
    public static ReadOnlySpan<byte> ProductsOf(byte a) => Products.AsSpan(a * 256, 256);

    /// <exception cref="DivideByZeroException"><paramref name="a"/> is 0.</exception>
    public static byte Inverse(byte a) => a == 0 ? throw new DivideByZeroException("0 has no inverse in GF(2^8).") : Exponential[255 - Logarithm[a]];
}
