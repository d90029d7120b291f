using System.Collections.Immutable;
using System.Text;
using ObjectStore.Grains;
using ObjectStore.S3.Checksums;
using ObjectStore.S3.Errors;
using ObjectStore.S3.Xml;

namespace ObjectStore.Gateway.Objects;

/// <summary>ListObjects and ListObjectsV2: pages of a bucket's keys in UTF-8 binary order, over however many index ranges it has.</summary>
internal static class ListObjects
{
    private const int MaxKeysLimit = 1000;

    public static async Task HandleV1Async(S3Request request)
    {
        BucketInfo bucket = await request.RequireBucketAsync();
        (string prefix, string? delimiter, int maxKeys, bool isUrlEncoded) = ReadCommon(request);
        string marker = request.Query.Get("marker") ?? "";

        // A marker that is a common prefix of this very listing was returned as NextMarker: what is under it has been listed.
        bool isPrefix = !string.IsNullOrEmpty(delimiter) && marker.Length > prefix.Length
            && marker.StartsWith(prefix, StringComparison.Ordinal) && marker.EndsWith(delimiter, StringComparison.Ordinal)
            && marker.IndexOf(delimiter, prefix.Length, StringComparison.Ordinal) == marker.Length - delimiter.Length;
        ListPage page = await ListAsync(request, bucket, Query(prefix, delimiter, Encoding.UTF8.GetBytes(marker), isPrefix, maxKeys));
        ObjectListing listing = new()
        {
            Bucket = bucket.Name,
            Prefix = prefix,
            Delimiter = delimiter,
            MaxKeys = maxKeys,
            IsUrlEncoded = isUrlEncoded,
            IsTruncated = page.IsTruncated,
            Marker = marker,
            NextMarker = page.IsTruncated ? Encoding.UTF8.GetString(page.Last) : null,
        };
        await SendAsync(request, page, output => ObjectListingWriter.BeginV1(output, listing), new S3Owner(bucket.Owner, bucket.Owner));
    }

    public static async Task HandleV2Async(S3Request request)
    {
        BucketInfo bucket = await request.RequireBucketAsync();
        (string prefix, string? delimiter, int maxKeys, bool isUrlEncoded) = ReadCommon(request);
        string? token = request.Query.Get("continuation-token");
        string? startAfter = request.Query.Get("start-after");
        (byte[] after, bool isPrefix) = token is null ? (Encoding.UTF8.GetBytes(startAfter ?? ""), false) : ContinuationToken.Decode(token);
        ListPage page = await ListAsync(request, bucket, Query(prefix, delimiter, after, isPrefix, maxKeys));
        ObjectListing listing = new()
        {
            Bucket = bucket.Name,
            Prefix = prefix,
            Delimiter = delimiter,
            MaxKeys = maxKeys,
            IsUrlEncoded = isUrlEncoded,
            IsTruncated = page.IsTruncated,
            KeyCount = page.Entries.Length + page.CommonPrefixes.Length,
            ContinuationToken = token,
            NextContinuationToken = page.IsTruncated ? ContinuationToken.Encode(page.Last, page.LastIsPrefix) : null,
            StartAfter = startAfter,
        };
        S3Owner? owner = request.Query.Get("fetch-owner") == "true" ? new S3Owner(bucket.Owner, bucket.Owner) : null;
        await SendAsync(request, page, output => ObjectListingWriter.BeginV2(output, listing), owner);
    }

    private static (string Prefix, string? Delimiter, int MaxKeys, bool IsUrlEncoded) ReadCommon(S3Request request)
    {
        string? encoding = request.Query.Get("encoding-type");
        if (encoding is not (null or "url")) throw new S3Exception(S3Error.InvalidArgument("Invalid Encoding Method specified in Request", "encoding-type", encoding));
        int maxKeys = request.QueryInt32("max-keys", MaxKeysLimit, 0, int.MaxValue);
        string? delimiter = request.Query.Get("delimiter");
        return (request.Query.Get("prefix") ?? "", string.IsNullOrEmpty(delimiter) ? null : delimiter, Math.Min(maxKeys, MaxKeysLimit), encoding is not null);
    }

    private static ListQuery Query(string prefix, string? delimiter, byte[] startAfter, bool isPrefix, int maxKeys) =>
        new(Encoding.UTF8.GetBytes(prefix), Encoding.UTF8.GetBytes(delimiter ?? ""), startAfter, isPrefix, maxKeys);

    private static async Task<ListPage> ListAsync(S3Request request, BucketInfo bucket, ListQuery query)
    {
        if (query.MaxItems == 0) return new ListPage([], [], false, [], false, false);
        return await request.Services.Grains.GetGrain<IBucketListingGrain>(bucket.Id.ToString()).ListAsync(query)
            ?? throw new S3Exception(S3Error.NoSuchBucket(bucket.Name));
    }

    private delegate ObjectListingWriter Begin(System.Buffers.IBufferWriter<byte> output);

    private static async Task SendAsync(S3Request request, ListPage page, Begin begin, S3Owner? owner)
    {
        using PooledBufferWriter document = new(page.Entries.Length * 320 + 1024);
        Write(document, page, begin, owner);
        await S3Response.XmlAsync(request, document);
    }

    private static void Write(PooledBufferWriter document, ListPage page, Begin begin, S3Owner? owner)
    {
        ObjectListingWriter writer = begin(document);
        byte[] storageClass = [];
        string? encoded = null;
        foreach (ref readonly ListEntry entry in page.Entries.AsSpan())
        {
            if (!ReferenceEquals(encoded, entry.StorageClass))
            {
                encoded = entry.StorageClass;
                storageClass = Encoding.ASCII.GetBytes(encoded);
            }

            writer.Contents(new ObjectRow
            {
                Key = entry.Key,
                LastModified = Conversions.ToUtc(entry.LastModifiedUnixMs),
                ETag = entry.ETag.ToS3(),
                Size = entry.SizeBytes,
                StorageClass = storageClass,
                Owner = owner,
                ChecksumAlgorithm = entry.ChecksumAlgorithm is { } name && ChecksumAlgorithms.TryFromName(name, out ChecksumAlgorithm algorithm) ? algorithm : null,
                ChecksumType = entry.ChecksumIsComposite ? ChecksumType.Composite : ChecksumType.FullObject,
            });
        }

        foreach (byte[] prefix in page.CommonPrefixes) writer.CommonPrefix(prefix);
        writer.End();
    }
}

/// <summary>
/// The opaque token of ListObjectsV2: a version character, whether the last item was a common prefix, and its bytes in base64url.
/// </summary>
internal static class ContinuationToken
{
    public static string Encode(byte[] last, bool isPrefix) => (isPrefix ? "1p" : "1k") + System.Buffers.Text.Base64Url.EncodeToString(last);

    public static (byte[] Last, bool IsPrefix) Decode(string token)
    {
        if (token.Length >= 2 && token[0] == '1' && token[1] is 'p' or 'k' && System.Buffers.Text.Base64Url.IsValid(token.AsSpan(2)))
        {
            byte[] last = System.Buffers.Text.Base64Url.DecodeFromChars(token.AsSpan(2));
            if (last.Length <= 1024) return (last, token[1] == 'p');
        }

        throw new S3Exception(S3Error.InvalidArgument("The continuation token provided is incorrect", "continuation-token", token));
    }
}
