using System.Buffers;
using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Text;

namespace ObjectStore.S3.Headers;

/// <summary>
/// An entity tag as S3 forms it: 16 bytes in hex, followed by "-N" for an object of N parts. The quotes are no part of the value; they are
/// added where a header or an XML element needs them.
/// </summary>
public readonly struct ETag : IEquatable<ETag>
{
    /// <summary>The longest text: quotes, 32 hex digits, '-' and the part count.</summary>
    public const int MaxTextLength = 2 + 32 + 1 + 10;

    private readonly ulong _high;
    private readonly ulong _low;

    /// <summary>Wraps an MD5; <paramref name="partCount"/> is 0 for an object that was not uploaded in parts.</summary>
    public ETag(ReadOnlySpan<byte> md5, int partCount = 0)
    {
        if (md5.Length != 16) throw new ArgumentException("An entity tag holds 16 bytes.", nameof(md5));
        ArgumentOutOfRangeException.ThrowIfNegative(partCount);
        _high = BinaryPrimitives.ReadUInt64BigEndian(md5);
        _low = BinaryPrimitives.ReadUInt64BigEndian(md5[8..]);
        PartCount = partCount;
    }

    /// <summary>The number of parts, or 0.</summary>
    public int PartCount { get; }

    /// <summary>Writes the 16 bytes.</summary>
    public void CopyTo(Span<byte> md5)
    {
        BinaryPrimitives.WriteUInt64BigEndian(md5, _high);
        BinaryPrimitives.WriteUInt64BigEndian(md5[8..], _low);
    }

    /// <summary>
    /// Writes the text, with quotes or without, and returns its length. <paramref name="destination"/> holds at least
    /// <see cref="MaxTextLength"/> bytes.
    /// </summary>
    public int Format(Span<byte> destination, bool quoted)
    {
        int length = 0;
        Span<byte> md5 = stackalloc byte[16];
        CopyTo(md5);
        if (quoted) destination[length++] = (byte)'"';
        Convert.TryToHexStringLower(md5, destination[length..], out int written);
        length += written;
        if (PartCount > 0)
        {
            destination[length++] = (byte)'-';
            PartCount.TryFormat(destination[length..], out written, default, CultureInfo.InvariantCulture);
            length += written;
        }

        if (quoted) destination[length++] = (byte)'"';
        return length;
    }

    /// <summary>The text in quotes, as a header carries it.</summary>
    public string ToQuotedString()
    {
        Span<byte> text = stackalloc byte[MaxTextLength];
        return Encoding.ASCII.GetString(text[..Format(text, quoted: true)]);
    }

    /// <summary>The text without quotes.</summary>
    public override string ToString()
    {
        Span<byte> text = stackalloc byte[MaxTextLength];
        return Encoding.ASCII.GetString(text[..Format(text, quoted: false)]);
    }

    /// <summary>Parses a tag with or without quotes; false for anything that S3 itself cannot have issued. A weak prefix is not accepted.</summary>
    public static bool TryParse(ReadOnlySpan<char> text, out ETag etag)
    {
        etag = default;
        text = text.Trim();
        if (text.Length >= 2 && text[0] == '"' && text[^1] == '"') text = text[1..^1];
        if (text.Length < 32) return false;
        int partCount = 0;
        if (text.Length > 32)
        {
            if (text[32] != '-' || !int.TryParse(text[33..], NumberStyles.None, CultureInfo.InvariantCulture, out partCount) || partCount == 0) return false;
        }

        Span<byte> md5 = stackalloc byte[16];
        if (Convert.FromHexString(text[..32], md5, out _, out _) != OperationStatus.Done) return false;
        etag = new ETag(md5, partCount);
        return true;
    }

    /// <inheritdoc/>
    public bool Equals(ETag other) => _high == other._high && _low == other._low && PartCount == other.PartCount;

    /// <inheritdoc/>
    public override bool Equals([NotNullWhen(true)] object? obj) => obj is ETag other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(_high, _low, PartCount);

    /// <summary>Equal bytes and part count.</summary>
    public static bool operator ==(ETag left, ETag right) => left.Equals(right);

    /// <summary>Different bytes or part count.</summary>
    public static bool operator !=(ETag left, ETag right) => !left.Equals(right);
}
