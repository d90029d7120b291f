using System.Buffers;
using System.Collections.Frozen;
using System.Security.Cryptography;
using System.Text;
using ObjectStore.S3.Routing;

namespace ObjectStore.S3.Signing;

/// <summary>
/// The canonical request and string to sign of Signature Version 4 as S3 defines them: the path is encoded once and never normalised.
/// Shared by the verifier and the signer. Source: "Signature Calculations for the Authorization Header", Amazon S3 API Reference.
/// </summary>
internal static class SigV4Canonical
{
    public const string Algorithm = "AWS4-HMAC-SHA256";

    /// <summary>Sorting happens before authentication and is quadratic, so the count is bounded.</summary>
    public const int MaxQueryParameters = 256;

    public static ReadOnlySpan<byte> EmptySha256Hex => "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"u8;

    private static readonly SearchValues<char> PathAsIs =
        SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/");

    private static readonly SearchValues<char> QueryAsIs =
        SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~");

    // Header names arrive as slices of SignedHeaders; those that clients really sign are turned into strings without allocating.
    private static readonly FrozenSet<string>.AlternateLookup<ReadOnlySpan<char>> KnownNames = new[]
    {
        "host", "range", "date", "content-type", "content-md5", "content-length", "content-encoding", "content-disposition", "content-language",
        "cache-control", "expires", "user-agent", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "accept-encoding",
        "amz-sdk-invocation-id", "amz-sdk-request", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token", "x-amz-user-agent", "x-amz-acl",
        "x-amz-decoded-content-length", "x-amz-trailer", "x-amz-sdk-checksum-algorithm", "x-amz-checksum-algorithm", "x-amz-checksum-mode",
        "x-amz-checksum-type", "x-amz-checksum-crc32", "x-amz-checksum-crc32c", "x-amz-checksum-crc64nvme", "x-amz-checksum-sha1", "x-amz-checksum-sha256",
        "x-amz-copy-source", "x-amz-copy-source-range", "x-amz-metadata-directive", "x-amz-storage-class", "x-amz-tagging", "x-amz-request-payer",
        "x-amz-expected-bucket-owner", "x-amz-object-attributes", "x-amz-bucket-object-lock-enabled", "x-amz-bypass-governance-retention",
        "x-amz-mp-object-size", "x-amz-server-side-encryption",
    }.ToFrozenSet(StringComparer.Ordinal).GetAlternateLookup<ReadOnlySpan<char>>();

    private struct Parameter
    {
        public int Start;
        public int NameEnd;
        public int End;
    }

    /// <summary>Appends the whole canonical request; false where the path or query cannot be decoded or has too many parameters.</summary>
    public static bool TryAppendRequest(
        ref Utf8Buffer output, in SigV4Request request, ReadOnlySpan<char> signedHeaders, ReadOnlySpan<char> payloadHash, bool pathAsSent)
    {
        output.Append(request.Method);
        output.Append((byte)'\n');
        if (pathAsSent) output.Append(request.RawPath);
        else if (!TryAppendPath(ref output, request.RawPath)) return false;
        output.Append((byte)'\n');
        if (!TryAppendQuery(ref output, request.RawQuery)) return false;
        output.Append((byte)'\n');
        foreach (Range range in signedHeaders.Split(';'))
        {
            ReadOnlySpan<char> name = signedHeaders[range];
            output.Append(name);
            output.Append((byte)':');
            AppendHeaderValues(ref output, request.Headers, NameOf(name));
            output.Append((byte)'\n');
        }

        output.Append((byte)'\n');
        output.Append(signedHeaders);
        output.Append((byte)'\n');
        output.Append(payloadHash);
        return true;
    }

    /// <summary>Appends the string to sign of a request and computes its HMAC.</summary>
    public static void Sign(
        ref Utf8Buffer stringToSign, scoped ReadOnlySpan<byte> timestamp, scoped ReadOnlySpan<char> scope, scoped ReadOnlySpan<byte> canonicalRequest,
        scoped ReadOnlySpan<byte> signingKey, scoped Span<byte> signature)
    {
        Span<byte> hash = stackalloc byte[32];
        SHA256.HashData(canonicalRequest, hash);
        stringToSign.Append("AWS4-HMAC-SHA256\n"u8);
        stringToSign.Append(timestamp);
        stringToSign.Append((byte)'\n');
        stringToSign.Append(scope);
        stringToSign.Append((byte)'\n');
        stringToSign.AppendHex(hash);
        HMACSHA256.HashData(signingKey, stringToSign.Written, signature);
    }

    /// <summary>Writes yyyyMMdd'T'HHmmss'Z'.</summary>
    public static void FormatTimestamp(DateTime utc, Span<byte> destination)
    {
        utc.TryFormat(destination, out _, "yyyyMMdd'T'HHmmss'Z'", System.Globalization.CultureInfo.InvariantCulture);
    }

    public static bool TryParseTimestamp(ReadOnlySpan<char> text, out DateTime utc)
    {
        utc = default;
        if (text.Length != 16 || text[8] != 'T' || text[15] != 'Z') return false;
        if (text[..8].ContainsAnyExceptInRange('0', '9') || text[9..15].ContainsAnyExceptInRange('0', '9')) return false;
        int year = (Two(text, 0) * 100) + Two(text, 2);
        int month = Two(text, 4);
        int day = Two(text, 6);
        int hour = Two(text, 9);
        int minute = Two(text, 11);
        int second = Two(text, 13);
        if (year == 0 || month is 0 or > 12 || day == 0 || day > DateTime.DaysInMonth(year, month) || hour > 23 || minute > 59 || second > 59) return false;
        utc = new DateTime(year, month, day, hour, minute, second, DateTimeKind.Utc);
        return true;

        static int Two(ReadOnlySpan<char> text, int at) => ((text[at] - '0') * 10) + text[at + 1] - '0';
    }

    /// <summary>Decodes each byte of the path once and encodes it again, so that any spelling of one path has one canonical form.</summary>
    private static bool TryAppendPath(ref Utf8Buffer output, ReadOnlySpan<char> rawPath)
    {
        if (!rawPath.ContainsAnyExcept(PathAsIs))
        {
            output.Append(rawPath.IsEmpty ? "/" : rawPath);
            return true;
        }

        return TryAppendEncoded(ref output, rawPath, keepSlash: true);
    }

    private static bool TryAppendEncoded(ref Utf8Buffer output, ReadOnlySpan<char> encoded, bool keepSlash)
    {
        byte[]? rented = null;
        int capacity = encoded.Length * 3;
        Span<byte> decoded = capacity <= 768 ? stackalloc byte[768] : rented = ArrayPool<byte>.Shared.Rent(capacity);
        bool decodes = PercentEncoding.TryDecode(encoded, decoded, plusIsSpace: !keepSlash, out int written);
        if (decodes) output.Advance(PercentEncoding.Encode(decoded[..written], output.Reserve(written * 3), keepSlash));
        if (rented is not null) ArrayPool<byte>.Shared.Return(rented);
        return decodes;
    }

    private static bool TryAppendQuery(ref Utf8Buffer output, ReadOnlySpan<char> rawQuery)
    {
        if (!rawQuery.IsEmpty && rawQuery[0] == '?') rawQuery = rawQuery[1..];
        if (rawQuery.IsEmpty) return true;
        Span<Parameter> parameters = stackalloc Parameter[MaxQueryParameters];
        int count = 0;
        Utf8Buffer scratch = new(stackalloc byte[1024]);
        try
        {
            QueryString.Enumerator enumerator = new(rawQuery);
            while (enumerator.MoveNext())
            {
                QueryString.QueryParameter current = enumerator.Current;
                if (current.RawName is "X-Amz-Signature") continue;
                if (count == MaxQueryParameters) return false;
                Parameter parameter = default;
                parameter.Start = scratch.Length;
                if (!TryAppendQueryPart(ref scratch, current.RawName)) return false;
                parameter.NameEnd = scratch.Length;
                if (!TryAppendQueryPart(ref scratch, current.RawValue)) return false;
                parameter.End = scratch.Length;

                // Insertion sort: the parameters are few, and clients mostly send them in order.
                int at = count++;
                while (at > 0 && Compare(scratch.Written, parameters[at - 1], parameter) > 0)
                {
                    parameters[at] = parameters[at - 1];
                    at--;
                }

                parameters[at] = parameter;
            }

            ReadOnlySpan<byte> text = scratch.Written;
            for (int i = 0; i < count; i++)
            {
                if (i > 0) output.Append((byte)'&');
                output.Append(text[parameters[i].Start..parameters[i].NameEnd]);
                output.Append((byte)'=');
                output.Append(text[parameters[i].NameEnd..parameters[i].End]);
            }

            return true;
        }
        finally
        {
            scratch.Dispose();
        }
    }

    // By name and then by value: comparing "name=value" as one text would order by '=' against the characters of a longer name.
    private static int Compare(ReadOnlySpan<byte> text, in Parameter left, in Parameter right)
    {
        int byName = text[left.Start..left.NameEnd].SequenceCompareTo(text[right.Start..right.NameEnd]);
        return byName != 0 ? byName : text[left.NameEnd..left.End].SequenceCompareTo(text[right.NameEnd..right.End]);
    }

    private static bool TryAppendQueryPart(ref Utf8Buffer output, ReadOnlySpan<char> part)
    {
        if (part.ContainsAnyExcept(QueryAsIs)) return TryAppendEncoded(ref output, part, keepSlash: false);
        output.Append(part);
        return true;
    }

    private static string NameOf(ReadOnlySpan<char> name) => KnownNames.TryGetValue(name, out string? known) ? known : name.ToString();

    /// <summary>Values in wire order joined by ',', each trimmed, runs of spaces reduced to one.</summary>
    private static void AppendHeaderValues(ref Utf8Buffer output, ISigV4Headers headers, string name)
    {
        string? value = headers.GetValue(name, 0);
        for (int index = 1; value is not null; index++)
        {
            ReadOnlySpan<char> rest = value.AsSpan().Trim(" \t");
            int run;
            while ((run = rest.IndexOf("  ", StringComparison.Ordinal)) >= 0)
            {
                output.Append(rest[..(run + 1)]);
                rest = rest[(run + 1)..].TrimStart(' ');
            }

            output.Append(rest);
            value = headers.GetValue(name, index);
            if (value is not null) output.Append((byte)',');
        }
    }
}
