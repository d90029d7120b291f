using ObjectStore.S3.Errors;
using ObjectStore.S3.Routing;

namespace ObjectStore.S3.Headers;

/// <summary>The object that a copy reads, from x-amz-copy-source.</summary>
/// <param name="Bucket">The bucket's name.</param>
/// <param name="Key">The key, decoded once.</param>
/// <param name="VersionId">The version, or null for the current one. "null" names the null version.</param>
public readonly record struct CopySource(string Bucket, string Key, string? VersionId)
{
    /// <summary>
    /// Parses <c>/bucket/key?versionId=v</c>, with or without the leading slash, percent-encoded. Only a '?' that is followed by "versionId="
    /// begins the version: clients that forget to encode a '?' in a key would otherwise copy another object.
    /// False with InvalidArgument, or KeyTooLongError.
    /// </summary>
    public static bool TryParse(string headerValue, out CopySource source, out S3Error? error)
    {
        source = default;
        ReadOnlySpan<char> text = headerValue.AsSpan().Trim();
        string? versionId = null;
        int query = text.LastIndexOf("?versionId=", StringComparison.Ordinal);
        if (query >= 0)
        {
            if (!PercentEncoding.TryDecodeToString(text[(query + "?versionId=".Length)..], plusIsSpace: false, out versionId) || versionId.Length == 0)
            {
                error = S3Error.InvalidArgument("Version id cannot be the empty string", "x-amz-copy-source", headerValue);
                return false;
            }

            text = text[..query];
        }

        // Some clients encode the separating slash too.
        if (text.StartsWith("%2F", StringComparison.OrdinalIgnoreCase)) text = text[3..];
        else if (!text.IsEmpty && text[0] == '/') text = text[1..];
        int slash = text.IndexOf('/');
        int length = 1;
        if (slash < 0)
        {
            slash = text.IndexOf("%2F", StringComparison.OrdinalIgnoreCase);
            length = 3;
        }

        if (slash <= 0 || slash + length == text.Length || !PercentEncoding.TryDecodeToString(text[..slash], plusIsSpace: false, out string bucket))
        {
            error = S3Error.InvalidArgument("Copy Source must mention the source bucket and key: sourcebucket/sourcekey", "x-amz-copy-source", headerValue);
            return false;
        }

        if (!S3Address.TryDecodeKey(text[(slash + length)..], out string? key, out error))
        {
            if (error!.Code == S3ErrorCode.InvalidURI)
            {
                error = S3Error.InvalidArgument("Copy Source must be URL-encoded UTF-8", "x-amz-copy-source", headerValue);
            }

            return false;
        }

        source = new CopySource(bucket, key!, versionId);
        return true;
    }
}

/// <summary>What a copy does with the metadata of its source: x-amz-metadata-directive.</summary>
public enum MetadataDirective
{
    /// <summary>The copy has the source's metadata.</summary>
    Copy,

    /// <summary>The copy has the metadata of the request.</summary>
    Replace,
}

/// <summary>Parses the directives of CopyObject.</summary>
public static class CopyDirectives
{
    /// <summary>Parses x-amz-metadata-directive; absent means <see cref="MetadataDirective.Copy"/>. False with InvalidArgument.</summary>
    public static bool TryParseMetadata(string? headerValue, out MetadataDirective directive, out S3Error? error) =>
        TryParse(headerValue, "x-amz-metadata-directive", "Unknown metadata directive.", out directive, out error);

    /// <summary>Parses x-amz-tagging-directive; absent means <see cref="MetadataDirective.Copy"/>. False with InvalidArgument.</summary>
    public static bool TryParseTagging(string? headerValue, out MetadataDirective directive, out S3Error? error) =>
        TryParse(headerValue, "x-amz-tagging-directive", "Unknown tagging directive.", out directive, out error);

    private static bool TryParse(string? value, string header, string message, out MetadataDirective directive, out S3Error? error)
    {
        directive = value == "REPLACE" ? MetadataDirective.Replace : MetadataDirective.Copy;
        error = value is null or "COPY" or "REPLACE" ? null : S3Error.InvalidArgument(message, header, value);
        return error is null;
    }
}
