using System.Text;
using ObjectStore.S3.Errors;

namespace ObjectStore.S3.Headers;

/// <summary>The headers that S3 keeps with an object and gives back on GET and HEAD.</summary>
public static class ObjectHeaders
{
    /// <summary>The prefix of user metadata.</summary>
    public const string UserMetadataPrefix = "x-amz-meta-";

    /// <summary>The most user metadata an object may have: the UTF-8 bytes of all names, without the prefix, and values.</summary>
    public const int MaxUserMetadataBytes = 2048;

    /// <summary>The headers besides user metadata that PUT stores and GET returns, lower case.</summary>
    public static IReadOnlyList<string> Stored { get; } =
    [
        "cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires", "x-amz-website-redirect-location",
    ];

    /// <summary>The query parameters of GET that override a response header, with the header each one sets.</summary>
    public static IReadOnlyList<KeyValuePair<string, string>> ResponseOverrides { get; } =
    [
        new("response-cache-control", "Cache-Control"),
        new("response-content-disposition", "Content-Disposition"),
        new("response-content-encoding", "Content-Encoding"),
        new("response-content-language", "Content-Language"),
        new("response-content-type", "Content-Type"),
        new("response-expires", "Expires"),
    ];

    /// <summary>
    /// The Content-Encoding to store: without <c>aws-chunked</c>, which describes the request and not the object. Null when nothing is left.
    /// </summary>
    public static string? StoredContentEncoding(string? headerValue)
    {
        if (headerValue is null || !headerValue.Contains("aws-chunked", StringComparison.OrdinalIgnoreCase)) return headerValue;
        string stored = string.Join(',', headerValue
            .Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)
            .Where(coding => !coding.Equals("aws-chunked", StringComparison.OrdinalIgnoreCase)));
        return stored.Length == 0 ? null : stored;
    }

    /// <summary>
    /// Checks user metadata against S3's limits. Null when it is acceptable, else MetadataTooLarge.
    /// </summary>
    /// <param name="metadata">Names without the x-amz-meta- prefix, and values.</param>
    public static S3Error? ValidateUserMetadata(IEnumerable<KeyValuePair<string, string>> metadata)
    {
        int sizeBytes = 0;
        foreach ((string name, string value) in metadata) sizeBytes += Encoding.UTF8.GetByteCount(name) + Encoding.UTF8.GetByteCount(value);
        if (sizeBytes <= MaxUserMetadataBytes) return null;
        return new S3Error(S3ErrorCode.MetadataTooLarge)
            .WithDetail("Size", sizeBytes.ToString(System.Globalization.CultureInfo.InvariantCulture))
            .WithDetail("MaxSizeAllowed", "2048");
    }

    /// <summary>True, with the name in lower case and without its prefix, for a header of user metadata.</summary>
    public static bool TryGetUserMetadataName(string headerName, out string name)
    {
        bool isMetadata = headerName.Length > UserMetadataPrefix.Length && headerName.StartsWith(UserMetadataPrefix, StringComparison.OrdinalIgnoreCase);
        name = isMetadata ? headerName[UserMetadataPrefix.Length..].ToLowerInvariant() : "";
        return isMetadata;
    }
}
