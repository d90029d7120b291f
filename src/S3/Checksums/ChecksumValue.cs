using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Runtime.CompilerServices;

namespace ObjectStore.S3.Checksums;

/// <summary>The value of a checksum: the big-endian bytes of a CRC, or a digest, and the number of parts for a composite one. Immutable.</summary>
public readonly struct ChecksumValue : IEquatable<ChecksumValue>
{
    [InlineArray(32)]
    private struct Bytes32
    {
        private byte _first;
    }

    private readonly Bytes32 _bytes;

    /// <summary>Wraps a value; <paramref name="bytes"/> has the algorithm's length and <paramref name="partCount"/> is 0 unless the value is composite.</summary>
    public ChecksumValue(ChecksumAlgorithm algorithm, ReadOnlySpan<byte> bytes, int partCount = 0)
    {
        if (bytes.Length != algorithm.Length()) throw new ArgumentException($"A {algorithm.Name()} has {algorithm.Length()} bytes.", nameof(bytes));
        Algorithm = algorithm;
        PartCount = partCount;
        bytes.CopyTo(_bytes);
    }

    /// <summary>The algorithm.</summary>
    public ChecksumAlgorithm Algorithm { get; }

    /// <summary>The number of parts of a composite value; 0 for one over bytes.</summary>
    public int PartCount { get; }

    /// <summary>The value's bytes.</summary>
    [UnscopedRef]
    public ReadOnlySpan<byte> Bytes => ((ReadOnlySpan<byte>)_bytes)[..Algorithm.Length()];

    /// <summary>Parses base64, with "-N" behind it when <paramref name="allowComposite"/>. False for bad base64 or another length.</summary>
    public static bool TryParse(ChecksumAlgorithm algorithm, ReadOnlySpan<char> text, bool allowComposite, out ChecksumValue value)
    {
        value = default;
        text = text.Trim();
        int partCount = 0;
        int dash = text.LastIndexOf('-');
        if (dash >= 0)
        {
            if (!allowComposite || !int.TryParse(text[(dash + 1)..], NumberStyles.None, CultureInfo.InvariantCulture, out partCount) || partCount == 0) return false;
            text = text[..dash];
        }

        // Canonical base64 of the exact length only: Convert alone would skip white space inside.
        int length = algorithm.Length();
        if (text.Length != (length + 2) / 3 * 4) return false;
        Span<byte> bytes = stackalloc byte[48];
        if (!Convert.TryFromBase64Chars(text, bytes, out int written) || written != length) return false;
        value = new ChecksumValue(algorithm, bytes[..length], partCount);
        return true;
    }

    /// <summary>The base64 form, with "-N" for a composite value.</summary>
    public override string ToString()
    {
        string base64 = Convert.ToBase64String(Bytes);
        return PartCount == 0 ? base64 : string.Create(CultureInfo.InvariantCulture, $"{base64}-{PartCount}");
    }

    /// <inheritdoc/>
    public bool Equals(ChecksumValue other) => Algorithm == other.Algorithm && PartCount == other.PartCount && Bytes.SequenceEqual(other.Bytes);

    /// <inheritdoc/>
    public override bool Equals([NotNullWhen(true)] object? obj) => obj is ChecksumValue other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Algorithm, PartCount, BitConverter.ToInt32(Bytes));

    /// <summary>Same algorithm, bytes and part count.</summary>
    public static bool operator ==(ChecksumValue left, ChecksumValue right) => left.Equals(right);

    /// <summary>Another algorithm, other bytes or another part count.</summary>
    public static bool operator !=(ChecksumValue left, ChecksumValue right) => !left.Equals(right);
}
