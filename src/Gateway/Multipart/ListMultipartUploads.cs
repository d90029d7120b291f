using System.Collections.Immutable;
using System.Text;
using ObjectStore.Gateway.Objects;
using ObjectStore.Grains;
using ObjectStore.S3.Checksums;
using ObjectStore.S3.Errors;
using ObjectStore.S3.Xml;

namespace ObjectStore.Gateway.Multipart;

/// <summary>ListMultipartUploads: open uploads by key, rolled up to common prefixes where a delimiter is given.</summary>
internal static class ListMultipartUploads
{
    private const int Batch = 1000;

    public static async Task HandleAsync(S3Request request)
    {
        BucketInfo bucket = await request.RequireBucketAsync();
        string? encoding = request.Query.Get("encoding-type");
        if (encoding is not (null or "url")) throw new S3Exception(S3Error.InvalidArgument("Invalid Encoding Method specified in Request", "encoding-type", encoding));
        int maxUploads = Math.Min(request.QueryInt32("max-uploads", 1000, 0, int.MaxValue), 1000);
        string prefix = request.Query.Get("prefix") ?? "";
        string? delimiter = request.Query.Get("delimiter") is { Length: > 0 } given ? given : null;
        string keyMarker = request.Query.Get("key-marker") ?? "";
        string? idMarkerText = request.Query.Get("upload-id-marker") is { Length: > 0 } text && keyMarker.Length > 0 ? text : null;
        VersionId? idMarker = null;
        if (idMarkerText is not null)
        {
            if (!VersionId.TryParse(idMarkerText, out VersionId parsed)) throw new S3Exception(S3Error.InvalidArgument("Invalid uploadId marker", "upload-id-marker", idMarkerText));
            idMarker = parsed;
        }

        List<UploadInfo> uploads = [];
        List<string> prefixes = [];
        bool isTruncated = false;
        string lastKey = keyMarker;
        VersionId? lastId = idMarker;
        IUploadDirectoryGrain directory = request.Services.Grains.GetGrain<IUploadDirectoryGrain>(bucket.Id.ToString());
        string scanKey = keyMarker;
        VersionId? scanId = idMarker;
        while (maxUploads > 0 && !isTruncated)
        {
            ImmutableArray<UploadInfo> batch = await directory.ListAsync(prefix, scanKey, scanId, Batch);
            foreach (UploadInfo upload in batch)
            {
                scanKey = upload.Key;
                scanId = upload.UploadId;
                string? common = CommonPrefix(upload.Key, prefix, delimiter);

                // A marker inside a common prefix means that the prefix was on an earlier page.
                if (common is not null && (prefixes.Contains(common) || keyMarker.StartsWith(common, StringComparison.Ordinal))) continue;
                if (uploads.Count + prefixes.Count == maxUploads)
                {
                    isTruncated = true;
                    break;
                }

                if (common is not null) prefixes.Add(common);
                else uploads.Add(upload);
                lastKey = common ?? upload.Key;
                lastId = common is null ? upload.UploadId : null;
            }

            if (batch.Length < Batch) break;
        }

        ObjectListing listing = new()
        {
            Bucket = bucket.Name,
            Prefix = prefix,
            Delimiter = delimiter,
            MaxKeys = maxUploads,
            IsUrlEncoded = encoding is not null,
            IsTruncated = isTruncated,
            Marker = keyMarker,
            IdMarker = idMarkerText,
            NextMarker = isTruncated ? lastKey : null,
            NextIdMarker = isTruncated ? lastId?.ToString() : null,
        };
        await S3Response.XmlAsync(request, output => ResponseXml.ListMultipartUploads(output, listing, uploads.Select(ToRow), prefixes));
    }

    private static string? CommonPrefix(string key, string prefix, string? delimiter)
    {
        if (delimiter is null) return null;
        int at = key.IndexOf(delimiter, prefix.Length, StringComparison.Ordinal);
        return at < 0 ? null : key[..(at + delimiter.Length)];
    }

    private static UploadRow ToRow(UploadInfo upload)
    {
        S3Owner owner = new(upload.Owner, upload.Owner);
        return new UploadRow(
            upload.Key, upload.UploadId.ToString(), Conversions.ToUtc(upload.InitiatedUnixMs), upload.StorageClass, owner, owner,
            Uploads.Algorithm(upload), upload.ChecksumIsComposite ? ChecksumType.Composite : ChecksumType.FullObject);
    }
}
