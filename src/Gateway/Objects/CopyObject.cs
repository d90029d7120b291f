using System.Collections.Immutable;
using System.Security.Cryptography;
using ObjectStore.Grains;
using ObjectStore.S3.Checksums;
using ObjectStore.S3.Conditions;
using ObjectStore.S3.Errors;
using ObjectStore.S3.Headers;
using ObjectStore.S3.Xml;
using ObjectStore.Storage.Extents;
using ETag = ObjectStore.Grains.ETag;
using ObjectHeaders = ObjectStore.Grains.ObjectHeaders;

namespace ObjectStore.Gateway.Objects;

/// <summary>CopyObject: reads one version and stores its bytes again as a version of another key, or of the same key with other metadata.</summary>
internal static class CopyObject
{
    public static async Task HandleAsync(S3Request request)
    {
        StoredHeaders.RefuseUnsupported(request);
        BucketInfo bucket = await request.RequireBucketAsync();
        (BucketInfo sourceBucket, ObjectVersion source, CopySource name) = await CopySources.ResolveAsync(request);
        if (!CopyDirectives.TryParseMetadata(request.Header("x-amz-metadata-directive"), out MetadataDirective directive, out S3Error? error)) throw new S3Exception(error!);
        if (!RequestChecksum.TryReadMultipart(request.Header("x-amz-checksum-algorithm"), null, out ChecksumAlgorithm? algorithm, out _, out error)) throw new S3Exception(error!);
        bool isOntoItself = sourceBucket.Id == bucket.Id && name.Key == request.Key;
        if (isOntoItself && directive == MetadataDirective.Copy && request.Header("x-amz-storage-class") is null && algorithm is null
            && request.Header("x-amz-website-redirect-location") is null)
        {
            throw new S3Exception(S3Error.InvalidRequest(
                "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes."));
        }

        if (source.SizeBytes > BodyReceiver.MaxBytes)
        {
            throw new S3Exception(S3Error.InvalidRequest("The specified copy source is larger than the maximum allowable size for a copy source: 5368709120"));
        }

        ObjectHeaders headers = directive == MetadataDirective.Replace ? StoredHeaders.Read(request) : source.Headers;
        string storageClass = StoredHeaders.StorageClass(request);
        WriteCondition? condition = StoredHeaders.Condition(request);
        algorithm ??= source.Checksum.ToValue()?.Algorithm;
        VersionId version = request.Services.NewVersionId();
        ExtentDescriptor descriptor = Conversions.Describe(request.Services.Extents, bucket.Id, request.Key, version, 1, storageClass);
        (ReceivedBody body, ExtentLayout layout) = await CopySources.StoreAsync(request, source, 0, source.SizeBytes, descriptor, algorithm);
        long now = request.Services.Time.GetUtcNow().ToUnixTimeMilliseconds();
        PutCommand command = new(
            new ObjectVersion
            {
                VersionId = version,
                SizeBytes = body.LengthBytes,
                ETag = body.ETag,
                LastModifiedUnixMs = now,
                StorageClass = storageClass,
                Headers = headers,
                Parts = ImmutableArray.Create(layout.ToPart(1, body.ETag, null)),
                Checksum = body.Checksum.ToStored(),
            },
            condition,
            null);
        await PutObject.CommitAsync(request, bucket, request.Key, command, layout);
        await S3Response.XmlAsync(request, output => ResponseXml.CopyObject(
            output, Conversions.ToUtc(now), body.ETag.ToS3(), body.Checksum, body.Checksum is null ? null : ChecksumType.FullObject));
    }
}

/// <summary>What CopyObject and UploadPartCopy share: finding the source, and storing its bytes again.</summary>
internal static class CopySources
{
    public static async Task<(BucketInfo Bucket, ObjectVersion Version, CopySource Name)> ResolveAsync(S3Request request)
    {
        if (!CopySource.TryParse(request.Header("x-amz-copy-source")!, out CopySource name, out S3Error? error)) throw new S3Exception(error!);
        if (name.VersionId is { } version and not "null") throw new S3Exception(S3Error.NoSuchVersion(name.Key, version));
        BucketInfo bucket = await request.RequireBucketAsync(name.Bucket);
        ObjectVersion source = await GetObject.ReadVersionAsync(request, bucket, name.Key);
        RequestConditions conditions = new(
            request.Header("x-amz-copy-source-if-match"), request.Header("x-amz-copy-source-if-none-match"),
            request.Header("x-amz-copy-source-if-modified-since"), request.Header("x-amz-copy-source-if-unmodified-since"));
        if (!conditions.IsEmpty)
        {
            ConditionResult result = conditions.EvaluateCopySource(
                source.ETag.ToString(), DateTimeOffset.FromUnixTimeMilliseconds(source.LastModifiedUnixMs), request.Services.Time.GetUtcNow());
            if (!result.Proceeds) throw new S3Exception(result.ToError(name.Key)!);
        }

        return (bucket, source, name);
    }

    /// <summary>Stores a range of a version as a new extent, durably. Bounded memory.</summary>
    public static async Task<(ReceivedBody Body, ExtentLayout Layout)> StoreAsync(
        S3Request request, ObjectVersion source, long offset, long length, ExtentDescriptor descriptor, ChecksumAlgorithm? algorithm)
    {
        IExtentStore extents = request.Services.Extents;
        using GatewayServices.StreamTicket ticket = request.Services.AdmitStream();
        using IncrementalHash md5 = IncrementalHash.CreateHash(HashAlgorithmName.MD5);
        using IncrementalChecksum? checksum = algorithm is { } chosen ? new IncrementalChecksum(chosen) : null;
        await using IExtentWriter writer = extents.CreateExtent(descriptor, length);
        await foreach (ReadOnlyMemory<byte> piece in ObjectBody.ReadAsync(extents, source, offset, length, request.Aborted))
        {
            md5.AppendData(piece.Span);
            checksum?.Append(piece.Span);
            await writer.AppendAsync(piece, request.Aborted);
        }

        ExtentLayout layout = await writer.CompleteAsync(request.Aborted);
        return (new ReceivedBody(length, ETag.FromMd5(md5.GetHashAndReset()), checksum?.Finish()), layout);
    }

    /// <summary>Appends bytes that lie elsewhere in memory.</summary>
    public static async ValueTask AppendAsync(this IExtentWriter writer, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        while (!bytes.IsEmpty)
        {
            Memory<byte> room = writer.GetMemory();
            int count = Math.Min(room.Length, bytes.Length);
            bytes.Span[..count].CopyTo(room.Span);
            writer.Advance(count);
            await writer.FlushIfFullAsync(cancellationToken);
            bytes = bytes[count..];
        }
    }
}
