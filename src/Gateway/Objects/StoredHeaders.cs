using System.Collections.Immutable;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Primitives;
using ObjectStore.Grains;
using ObjectStore.S3.Conditions;
using ObjectStore.S3.Errors;
using Protocol = ObjectStore.S3.Headers;

namespace ObjectStore.Gateway.Objects;

/// <summary>What a write's headers ask to be kept, and what they ask that this server refuses.</summary>
internal static class StoredHeaders
{
    // Asked for and not done would be a promise broken in silence (unencrypted, unlocked, untagged), so each is refused.
    private static readonly string[] Refused =
    [
        "x-amz-server-side-encryption", "x-amz-server-side-encryption-customer-algorithm", "x-amz-server-side-encryption-customer-key",
        "x-amz-server-side-encryption-aws-kms-key-id", "x-amz-tagging", "x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date",
        "x-amz-object-lock-legal-hold", "x-amz-grant-full-control", "x-amz-grant-read", "x-amz-grant-read-acp", "x-amz-grant-write-acp", "x-amz-write-offset-bytes",
    ];

    private static readonly HashSet<string> Unstorable = ["OUTPOSTS", "SNOW", "EXPRESS_ONEZONE", "FSX_OPENZFS", "FSX_ONTAP"];

    /// <summary>Refuses what is not built. NotImplemented, or AccessControlListNotSupported.</summary>
    public static void RefuseUnsupported(S3Request request)
    {
        IHeaderDictionary headers = request.Http.Request.Headers;
        foreach (KeyValuePair<string, StringValues> header in headers)
        {
            if (!header.Key.StartsWith("x-amz-", StringComparison.OrdinalIgnoreCase)) continue;
            foreach (string refused in Refused)
            {
                if (header.Key.Equals(refused, StringComparison.OrdinalIgnoreCase))
                {
                    throw new S3Exception(new S3Error(S3ErrorCode.NotImplemented, "A header you provided implies functionality that is not implemented").WithDetail("Header", refused));
                }
            }

            if (header.Key.Equals("x-amz-acl", StringComparison.OrdinalIgnoreCase) && header.Value.ToString() is not ("private" or "bucket-owner-full-control"))
            {
                throw new S3Exception(S3ErrorCode.AccessControlListNotSupported);
            }
        }
    }

    /// <summary>The storage class, by S3's name.</summary>
    public static string StorageClass(S3Request request)
    {
        if (request.Header("x-amz-storage-class") is not { } name) return Protocol.StorageClass.Standard;
        return Protocol.StorageClass.IsKnown(name) && !Unstorable.Contains(name) ? name : throw new S3Exception(S3ErrorCode.InvalidStorageClass);
    }

    /// <summary>The headers and user metadata to keep; MetadataTooLarge over S3's limit.</summary>
    public static ObjectHeaders Read(S3Request request)
    {
        ImmutableArray<KeyValuePair<string, string>>.Builder? values = null;
        List<KeyValuePair<string, string>>? metadata = null;
        RefuseControlCharacters("Content-Type", request.Http.Request.ContentType);
        foreach (KeyValuePair<string, StringValues> header in request.Http.Request.Headers)
        {
            if (Protocol.ObjectHeaders.TryGetUserMetadataName(header.Key, out string name))
            {
                string value = header.Value.ToString();
                RefuseControlCharacters(header.Key, value);
                (metadata ??= []).Add(new(name, value));
                (values ??= ImmutableArray.CreateBuilder<KeyValuePair<string, string>>()).Add(new(Protocol.ObjectHeaders.UserMetadataPrefix + name, value));
                continue;
            }

            if (Stored(header.Key) is not { } stored) continue;
            RefuseControlCharacters(header.Key, header.Value.ToString());
            string? kept = stored == "content-encoding" ? Protocol.ObjectHeaders.StoredContentEncoding(header.Value.ToString()) : header.Value.ToString();
            if (kept is not null) (values ??= ImmutableArray.CreateBuilder<KeyValuePair<string, string>>()).Add(new(stored, kept));
        }

        if (metadata is not null && Protocol.ObjectHeaders.ValidateUserMetadata(metadata) is { } error) throw new S3Exception(error);
        string? contentType = request.Http.Request.ContentType;
        return values is null && string.IsNullOrEmpty(contentType)
            ? ObjectHeaders.Empty
            : new ObjectHeaders { ContentType = string.IsNullOrEmpty(contentType) ? null : contentType, Values = values?.ToImmutable() ?? [] };
    }

    /// <summary>
    /// InvalidArgument for a value that no response header may hold: HTTP servers take control characters in requests and refuse them in responses, so an
    /// object that kept one could never be read again.
    /// </summary>
    public static void RefuseControlCharacters(string name, string? value)
    {
        foreach (char c in value.AsSpan())
        {
            if ((c < ' ' && c != '\t') || c == '\x7f') throw new S3Exception(S3Error.InvalidArgument("The value holds control characters.", name, null));
        }
    }

    /// <summary>The condition on a write, or null; NotImplemented for the conditions S3 does not take there.</summary>
    public static WriteCondition? Condition(S3Request request)
    {
        RequestConditions conditions = request.Conditions;
        if (conditions.IsEmpty) return null;
        if (conditions.ValidateWrite() is { } error) throw new S3Exception(error);
        if (conditions.IfNoneMatch is not null) return new WriteCondition(true, [], false);
        if (conditions.IfMatch!.Trim() == "*") return new WriteCondition(false, [], true);
        ImmutableArray<ETag>.Builder tags = ImmutableArray.CreateBuilder<ETag>();
        foreach (string text in conditions.IfMatch.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            if (Protocol.ETag.TryParse(text, out Protocol.ETag tag)) tags.Add(tag.ToGrains());
        }

        // A tag this store cannot have issued matches nothing; the condition must still fail, so an impossible tag stands for it.
        if (tags.Count == 0) tags.Add(new ETag(0, 0, -1));
        return new WriteCondition(false, tags.ToImmutable(), false);
    }

    private static string? Stored(string name) => name.Length switch
    {
        13 when name.Equals("Cache-Control", StringComparison.OrdinalIgnoreCase) => "cache-control",
        19 when name.Equals("Content-Disposition", StringComparison.OrdinalIgnoreCase) => "content-disposition",
        16 when name.Equals("Content-Encoding", StringComparison.OrdinalIgnoreCase) => "content-encoding",
        16 when name.Equals("Content-Language", StringComparison.OrdinalIgnoreCase) => "content-language",
        7 when name.Equals("Expires", StringComparison.OrdinalIgnoreCase) => "expires",
        31 when name.Equals("x-amz-website-redirect-location", StringComparison.OrdinalIgnoreCase) => "x-amz-website-redirect-location",
        _ => null,
    };
}
