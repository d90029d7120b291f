using System.Collections.Immutable;
using System.Globalization;
using ObjectStore.Gateway.Objects;
using ObjectStore.Grains;
using ObjectStore.S3.Checksums;
using ObjectStore.S3.Errors;
using ObjectStore.S3.Xml;

namespace ObjectStore.Gateway.Multipart;

/// <summary>CompleteMultipartUpload: makes one object of the parts the client lists, in one commit.</summary>
internal static class CompleteMultipartUpload
{
    public static async Task HandleAsync(S3Request request)
    {
        BucketInfo bucket = await request.RequireBucketAsync();
        VersionId uploadId = request.UploadId();
        IMultipartUploadGrain grain = Uploads.Grain(request, uploadId);

        // The headers may carry the whole object's checksum; the body's own is not it, so the body is read without them.
        ReadOnlyMemory<byte> body = await XmlBody.ReadWithoutChecksumAsync(request, RequestXml.MaxBodyBytes);
        IReadOnlyList<S3.Xml.CompletedPart> listed = RequestXml.CompleteMultipartUpload(body);
        ImmutableArray<Grains.CompletedPart> parts = [.. listed.Select(part => new Grains.CompletedPart(
            part.PartNumber, part.ETag.Trim('"'), part.Checksums.Count > 0 ? part.Checksums[0].Value : null))];
        CompleteCommand command = new(bucket.Id, request.Key, parts, StoredHeaders.Condition(request), WholeChecksum(request), WholeSize(request));
        CompleteResult result = await grain.CompleteAsync(command);
        if (result.Status != CompleteStatus.Committed) throw new S3Exception(ToError(result, bucket, request.Key, uploadId));
        ObjectVersion version = result.Version!;
        string location = $"{request.Http.Request.Scheme}://{request.Http.Request.Host}{S3.Routing.S3Address.RawPathOf(request.RawTarget)}";
        await S3Response.XmlAsync(request, output => ResponseXml.CompleteMultipartUpload(
            output, location, bucket.Name, request.Key, version.ETag.ToS3(), version.Checksum.ToValue(), version.Checksum.TypeOf()));
    }

    private static string? WholeChecksum(S3Request request)
    {
        foreach (ChecksumAlgorithm algorithm in ChecksumAlgorithms.All)
        {
            if (request.Header(algorithm.HeaderName()) is { } value) return value;
        }

        return null;
    }

    private static long? WholeSize(S3Request request)
    {
        if (request.Header("x-amz-mp-object-size") is not { } text) return null;
        return long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long size)
            ? size
            : throw new S3Exception(S3Error.InvalidArgument("The object size is not a number.", "x-amz-mp-object-size", text));
    }

    private static S3Error ToError(CompleteResult result, BucketInfo bucket, string key, VersionId uploadId) => result.Status switch
    {
        CompleteStatus.NoSuchUpload => S3Error.NoSuchUpload(uploadId.ToString()),
        CompleteStatus.InvalidPart => new S3Error(S3ErrorCode.InvalidPart).WithDetail("PartNumber", result.Part.ToString(CultureInfo.InvariantCulture)),
        CompleteStatus.InvalidPartOrder => new S3Error(S3ErrorCode.InvalidPartOrder),
        CompleteStatus.EntityTooSmall => new S3Error(S3ErrorCode.EntityTooSmall).WithDetail("PartNumber", result.Part.ToString(CultureInfo.InvariantCulture)),
        CompleteStatus.EntityTooLarge => new S3Error(S3ErrorCode.EntityTooLarge),
        CompleteStatus.BadDigest => new S3Error(S3ErrorCode.BadDigest),
        CompleteStatus.PreconditionFailed => S3Error.PreconditionFailed("If-Match"),
        CompleteStatus.NoSuchKey => S3Error.NoSuchKey(key),
        CompleteStatus.NoSuchBucket => S3Error.NoSuchBucket(bucket.Name),
        _ => new S3Error(S3ErrorCode.InternalError),
    };
}
