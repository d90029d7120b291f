using System.Buffers;
using System.Text;
using System.Text.Unicode;
using ObjectStore.S3.Errors;

namespace ObjectStore.S3.Routing;

/// <summary>
/// Which bucket and key a request names, taken from the Host header and the raw request target. The raw target is used
/// because a server's normalised path has already lost "//", "." and ".." segments and %2F, all of which are legal in a key.
/// </summary>
/// <param name="Bucket">The bucket's name, not validated; null when the request addresses the service.</param>
/// <param name="Key">The key, decoded exactly once; null when the request addresses the service or a bucket. Never empty.</param>
/// <param name="IsVirtualHosted">True when the bucket's name came from the Host header.</param>
public readonly record struct S3Address(string? Bucket, string? Key, bool IsVirtualHosted)
{
    /// <summary>The longest key S3 allows, in UTF-8 bytes.</summary>
    public const int MaxKeyBytes = 1024;

    /// <summary>True when the request names a bucket.</summary>
    public bool HasBucket => Bucket is not null;

    /// <summary>True when the request names an object.</summary>
    public bool HasKey => Key is not null;

    /// <summary>
    /// Parses an address. False with InvalidURI (bad escape, not UTF-8, a target that is no path), InvalidBucketName (an empty
    /// bucket segment before a key) or KeyTooLongError.
    /// </summary>
    /// <param name="host">The Host header or :authority, with or without a port; null or empty means path style.</param>
    /// <param name="rawTarget">The request target as on the wire: percent-encoded, with or without a query; absolute form is accepted.</param>
    /// <param name="domains">
    /// The domains under which a bucket is a subdomain, for example <c>s3.example.com</c>. One written with a port matches only that
    /// port. The longest match wins, so one domain may lie under another.
    /// </param>
    /// <param name="address">The address, when true is returned.</param>
    /// <param name="error">The error, when false is returned.</param>
    public static bool TryParse(string? host, ReadOnlySpan<char> rawTarget, ReadOnlySpan<string> domains, out S3Address address, out S3Error? error)
    {
        address = default;
        error = null;
        ReadOnlySpan<char> path = PathOf(rawTarget, out ReadOnlySpan<char> authority);
        if (authority.IsEmpty) authority = host;
        if (path.IsEmpty || path[0] != '/')
        {
            error = new S3Error(S3ErrorCode.InvalidURI);
            return false;
        }

        path = path[1..];
        string? bucket = BucketFromHost(authority, domains);
        bool isVirtualHosted = bucket is not null;
        if (!isVirtualHosted)
        {
            if (path.IsEmpty) return true;
            int slash = path.IndexOf('/');
            ReadOnlySpan<char> segment = slash < 0 ? path : path[..slash];
            path = slash < 0 ? default : path[(slash + 1)..];
            if (segment.IsEmpty)
            {
                error = S3Error.InvalidBucketName("");
                return false;
            }

            if (!PercentEncoding.TryDecodeToString(segment, plusIsSpace: false, out bucket))
            {
                error = new S3Error(S3ErrorCode.InvalidURI);
                return false;
            }
        }

        string? key = null;
        if (!path.IsEmpty && !TryDecodeKey(path, out key, out error)) return false;
        address = new S3Address(bucket, key, isVirtualHosted);
        return true;
    }

    /// <summary>The path of a raw target without its query, still percent-encoded: what SigV4 signs.</summary>
    public static ReadOnlySpan<char> RawPathOf(ReadOnlySpan<char> rawTarget) => PathOf(rawTarget, out _);

    internal static bool TryDecodeKey(ReadOnlySpan<char> encoded, out string? key, out S3Error? error)
    {
        key = null;
        error = null;

        // Three characters of target make at least one byte of key, so a longer target cannot be a legal key: refuse before decoding.
        if (encoded.Length > MaxKeyBytes * 3)
        {
            error = KeyTooLong(encoded.Length / 3);
            return false;
        }

        // Escape-free ASCII is the common case and needs no buffer.
        if (encoded.Length <= MaxKeyBytes && !encoded.Contains('%') && Ascii.IsValid(encoded))
        {
            key = encoded.ToString();
            return true;
        }

        byte[] rented = ArrayPool<byte>.Shared.Rent(encoded.Length * 3);
        try
        {
            if (!PercentEncoding.TryDecode(encoded, rented, plusIsSpace: false, out int written) || !Utf8.IsValid(rented.AsSpan(0, written)))
            {
                error = new S3Error(S3ErrorCode.InvalidURI);
                return false;
            }

            if (written > MaxKeyBytes)
            {
                error = KeyTooLong(written);
                return false;
            }

            key = Encoding.UTF8.GetString(rented, 0, written);
            return true;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(rented);
        }
    }

    private static S3Error KeyTooLong(int sizeBytes) => new S3Error(S3ErrorCode.KeyTooLongError)
        .WithDetail("Size", sizeBytes.ToString(System.Globalization.CultureInfo.InvariantCulture))
        .WithDetail("MaxSizeAllowed", "1024");

    private static ReadOnlySpan<char> PathOf(ReadOnlySpan<char> rawTarget, out ReadOnlySpan<char> authority)
    {
        authority = default;
        if (rawTarget.IsEmpty) return "/";
        if (rawTarget[0] != '/')
        {
            int scheme = rawTarget.StartsWith("http://", StringComparison.OrdinalIgnoreCase) ? 7
                : rawTarget.StartsWith("https://", StringComparison.OrdinalIgnoreCase) ? 8 : 0;
            if (scheme == 0) return rawTarget;
            rawTarget = rawTarget[scheme..];
            int end = rawTarget.IndexOfAny('/', '?');
            authority = end < 0 ? rawTarget : rawTarget[..end];
            rawTarget = end < 0 ? default : rawTarget[end..];
            if (rawTarget.IsEmpty || rawTarget[0] == '?') return "/";
        }

        int query = rawTarget.IndexOf('?');
        return query < 0 ? rawTarget : rawTarget[..query];
    }

    private static string? BucketFromHost(ReadOnlySpan<char> host, ReadOnlySpan<string> domains)
    {
        if (host.IsEmpty || domains.IsEmpty || host[0] == '[') return null;
        int colon = host.LastIndexOf(':');
        ReadOnlySpan<char> hostOnly = colon < 0 ? host : host[..colon];
        int bestDomain = -1;
        int bestBucket = 0;
        foreach (string domain in domains)
        {
            ReadOnlySpan<char> candidate = domain.Contains(':') ? host : hostOnly;
            if (domain.Length <= bestDomain || !candidate.EndsWith(domain, StringComparison.OrdinalIgnoreCase)) continue;
            int label = candidate.Length - domain.Length;
            if (label != 0 && (label == 1 || candidate[label - 1] != '.')) continue;
            bestDomain = domain.Length;
            bestBucket = Math.Max(label - 1, 0);
        }

        // DNS is case-insensitive and bucket names are lower case, so the host's case carries nothing.
        return bestBucket == 0 ? null : host[..bestBucket].ToString().ToLowerInvariant();
    }
}
