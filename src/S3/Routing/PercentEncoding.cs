using System.Buffers;
using System.Text;
using System.Text.Unicode;

namespace ObjectStore.S3.Routing;

/// <summary>
/// RFC 3986 percent-encoding over bytes. S3 decodes a name once and compares bytes, so nothing here normalises,
/// collapses or re-cases a path.
/// </summary>
public static class PercentEncoding
{
    private static ReadOnlySpan<byte> UpperHex => "0123456789ABCDEF"u8;

    /// <summary>What SigV4's UriEncode leaves alone: the unreserved characters of RFC 3986.</summary>
    private static readonly SearchValues<byte> Unreserved =
        SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"u8);

    private static readonly SearchValues<byte> UnreservedAndSlash =
        SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/"u8);

    /// <summary>
    /// Decodes <paramref name="encoded"/> into UTF-8 bytes exactly once. A character above U+007F that a client sent without
    /// encoding counts as its UTF-8 bytes.
    /// </summary>
    /// <param name="encoded">The text as it was on the wire.</param>
    /// <param name="destination">Must hold three bytes per character of <paramref name="encoded"/>.</param>
    /// <param name="plusIsSpace">True in a query string, where forms write a space as '+'; false in a path.</param>
    /// <param name="written">The number of bytes written.</param>
    /// <returns>False where an escape is not '%' and two hex digits, or a surrogate is unpaired. Does not check UTF-8.</returns>
    public static bool TryDecode(ReadOnlySpan<char> encoded, Span<byte> destination, bool plusIsSpace, out int written)
    {
        written = 0;
        while (!encoded.IsEmpty)
        {
            int special = plusIsSpace ? encoded.IndexOfAny('%', '+') : encoded.IndexOf('%');
            ReadOnlySpan<char> plain = special < 0 ? encoded : encoded[..special];
            if (!plain.IsEmpty)
            {
                if (Utf8.FromUtf16(plain, destination[written..], out _, out int copied, replaceInvalidSequences: false) != OperationStatus.Done) return false;
                written += copied;
            }

            if (special < 0) return true;
            if (encoded[special] == '+')
            {
                destination[written++] = (byte)' ';
                encoded = encoded[(special + 1)..];
                continue;
            }

            if (special + 2 >= encoded.Length || !char.IsAsciiHexDigit(encoded[special + 1]) || !char.IsAsciiHexDigit(encoded[special + 2])) return false;
            destination[written++] = (byte)((HexValue(encoded[special + 1]) << 4) | HexValue(encoded[special + 2]));
            encoded = encoded[(special + 3)..];
        }

        return true;
    }

    /// <summary>
    /// Decodes to a string. False where an escape is malformed or the bytes are not UTF-8, so the string always encodes back to
    /// the same bytes.
    /// </summary>
    public static bool TryDecodeToString(ReadOnlySpan<char> encoded, bool plusIsSpace, out string decoded)
    {
        if (encoded.IndexOfAny('%', '+') < 0 && Ascii.IsValid(encoded))
        {
            decoded = encoded.ToString();
            return true;
        }

        byte[]? rented = null;
        int capacity = encoded.Length * 3;
        Span<byte> bytes = capacity <= 1024 ? stackalloc byte[1024] : rented = ArrayPool<byte>.Shared.Rent(capacity);
        try
        {
            if (!TryDecode(encoded, bytes, plusIsSpace, out int written) || !Utf8.IsValid(bytes[..written]))
            {
                decoded = "";
                return false;
            }

            decoded = Encoding.UTF8.GetString(bytes[..written]);
            return true;
        }
        finally
        {
            if (rented is not null) ArrayPool<byte>.Shared.Return(rented);
        }
    }

    /// <summary>
    /// Encodes bytes as SigV4's UriEncode does: everything but A–Z a–z 0–9 - . _ ~ becomes %XX in upper case.
    /// </summary>
    /// <param name="bytes">The bytes of the name.</param>
    /// <param name="destination">Must hold three bytes per input byte.</param>
    /// <param name="keepSlash">True for a path, where '/' stays.</param>
    /// <returns>The number of bytes written.</returns>
    public static int Encode(ReadOnlySpan<byte> bytes, Span<byte> destination, bool keepSlash)
    {
        SearchValues<byte> kept = keepSlash ? UnreservedAndSlash : Unreserved;
        int written = 0;
        while (true)
        {
            int escape = bytes.IndexOfAnyExcept(kept);
            if (escape < 0)
            {
                bytes.CopyTo(destination[written..]);
                return written + bytes.Length;
            }

            bytes[..escape].CopyTo(destination[written..]);
            written += escape;
            byte value = bytes[escape];
            destination[written++] = (byte)'%';
            destination[written++] = UpperHex[value >> 4];
            destination[written++] = UpperHex[value & 15];
            bytes = bytes[(escape + 1)..];
        }
    }

    /// <summary>Encodes a string's UTF-8 bytes; see <see cref="Encode"/>.</summary>
    public static string EncodeToString(ReadOnlySpan<char> text, bool keepSlash)
    {
        byte[] bytes = new byte[Encoding.UTF8.GetByteCount(text)];
        Encoding.UTF8.GetBytes(text, bytes);
        byte[] encoded = new byte[bytes.Length * 3];
        return Encoding.ASCII.GetString(encoded, 0, Encode(bytes, encoded, keepSlash));
    }

    internal static int HexValue(int character) => character <= '9' ? character - '0' : (character | 0x20) - 'a' + 10;
}
