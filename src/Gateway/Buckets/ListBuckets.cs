using System.Collections.Immutable;
using System.Text;
using ObjectStore.Grains;
using ObjectStore.S3.Xml;

namespace ObjectStore.Gateway.Buckets;

/// <summary>ListBuckets, by name, in pages where the client asks for them.</summary>
internal static class ListBuckets
{
    private const int MaxBucketsLimit = 10_000;

    public static async Task HandleAsync(S3Request request)
    {
        int maxBuckets = request.QueryInt32("max-buckets", MaxBucketsLimit, 1, MaxBucketsLimit);
        string prefix = request.Query.Get("prefix") ?? "";
        string? token = request.Query.Get("continuation-token");
        string startAfter = token is null ? "" : Encoding.UTF8.GetString(Objects.ContinuationToken.Decode(token).Last);
        ImmutableArray<BucketInfo> buckets = await request.Services.Grains.GetGrain<IBucketDirectoryGrain>(GrainKeys.BucketDirectory).ListAsync(prefix, startAfter, maxBuckets + 1);
        bool isTruncated = buckets.Length > maxBuckets;
        if (isTruncated) buckets = buckets[..maxBuckets];
        string? next = isTruncated ? Objects.ContinuationToken.Encode(Encoding.UTF8.GetBytes(buckets[^1].Name), isPrefix: false) : null;
        await S3Response.XmlAsync(request, output => ResponseXml.ListAllMyBuckets(
            output, request.Owner, buckets.Select(bucket => new BucketRow(bucket.Name, Objects.Conversions.ToUtc(bucket.CreatedUnixMs), bucket.Region)),
            prefix.Length == 0 ? null : prefix, next));
    }
}
