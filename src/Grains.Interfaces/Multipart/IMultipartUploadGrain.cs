using System.Collections.Immutable;
using Orleans;
using Orleans.Concurrency;

namespace ObjectStore.Grains;

/// <summary>
/// The order of one multipart upload: its parts, its completion, its end. Key: the upload id, which is the text of the
/// <see cref="VersionId"/> that the finished object will have.
/// </summary>
[Alias("ObjectStore.IMultipartUploadGrain")]
public interface IMultipartUploadGrain : IGrainWithStringKey
{
    /// <summary>Begins the upload, durably. False when the bucket is gone.</summary>
    [Alias("Create")]
    Task<bool> CreateAsync(UploadInfo upload);

    /// <summary>The upload, or null when there is none (it never was, was completed or was aborted).</summary>
    [AlwaysInterleave, Alias("Get")]
    Task<UploadInfo?> GetAsync();

    /// <summary>Records a part whose bytes are durable, replacing an earlier one of its number, whose extent becomes garbage. False when the upload is gone; the caller owns the bytes' removal then.</summary>
    [Alias("PutPart")]
    Task<bool> PutPartAsync(UploadPart part);

    /// <summary>Parts with numbers above <paramref name="afterPartNumber"/>, in order, up to a number of them; null when the upload is gone.</summary>
    [AlwaysInterleave, Alias("ListParts")]
    Task<ImmutableArray<UploadPart>?> ListPartsAsync(int afterPartNumber, int maxParts);

    /// <summary>
    /// Makes the object of the named parts and ends the upload, in one transaction. The parts are those the client listed, in its order;
    /// S3's rules on order, ETags, checksums and the 5 MiB minimum are checked here against the recorded parts.
    /// </summary>
    [Alias("Complete")]
    Task<CompleteResult> CompleteAsync(CompleteCommand command);

    /// <summary>Ends the upload and makes its parts garbage. False when the upload is gone.</summary>
    [Alias("Abort")]
    Task<bool> AbortAsync();
}

/// <summary>A multipart upload.</summary>
/// <param name="UploadId">Its id; also the id of the version it will become.</param>
/// <param name="Bucket">The bucket.</param>
/// <param name="Key">The object key.</param>
/// <param name="Owner">The access key that began it.</param>
/// <param name="InitiatedUnixMs">When, in Unix milliseconds.</param>
/// <param name="StorageClass">S3's name of the storage class.</param>
/// <param name="Headers">The headers the object will have.</param>
/// <param name="ChecksumAlgorithm">S3's name of the algorithm the client chose, or null.</param>
/// <param name="ChecksumIsComposite">COMPOSITE or FULL_OBJECT; means nothing without an algorithm.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.UploadInfo")]
public sealed record UploadInfo(
    [property: Id(0)] VersionId UploadId,
    [property: Id(1)] BucketId Bucket,
    [property: Id(2)] string Key,
    [property: Id(3)] string Owner,
    [property: Id(4)] long InitiatedUnixMs,
    [property: Id(5)] string StorageClass,
    [property: Id(6)] ObjectHeaders Headers,
    [property: Id(7)] string? ChecksumAlgorithm,
    [property: Id(8)] bool ChecksumIsComposite);

/// <summary>One uploaded part.</summary>
/// <param name="Layout">Its number, size, extent, MD5 and checksum.</param>
/// <param name="LastModifiedUnixMs">When it was recorded, in Unix milliseconds.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.UploadPart")]
public sealed record UploadPart([property: Id(0)] PartLayout Layout, [property: Id(1)] long LastModifiedUnixMs);

/// <summary>One line of the client's list of parts.</summary>
/// <param name="PartNumber">1 to 10,000, strictly rising over the list.</param>
/// <param name="ETag">The ETag the client was given, without quotes.</param>
/// <param name="Checksum">The checksum the client was given, base64, or null.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.CompletedPart")]
public sealed record CompletedPart([property: Id(0)] int PartNumber, [property: Id(1)] string ETag, [property: Id(2)] string? Checksum);

/// <summary>What to complete.</summary>
/// <param name="Bucket">The bucket the request named; must be the upload's.</param>
/// <param name="Key">The key the request named; must be the upload's.</param>
/// <param name="Parts">The client's list.</param>
/// <param name="Condition">What must hold of the newest version, or null.</param>
/// <param name="ExpectedChecksum">The whole object's checksum as the client computed it, or null; base64, with -N when composite.</param>
/// <param name="ExpectedSizeBytes">The whole object's size as the client computed it, or null.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.CompleteCommand")]
public sealed record CompleteCommand(
    [property: Id(0)] BucketId Bucket,
    [property: Id(1)] string Key,
    [property: Id(2)] ImmutableArray<CompletedPart> Parts,
    [property: Id(3)] WriteCondition? Condition,
    [property: Id(4)] string? ExpectedChecksum,
    [property: Id(5)] long? ExpectedSizeBytes);

/// <summary>How a completion ended.</summary>
public enum CompleteStatus
{
    /// <summary>The object is durable and visible.</summary>
    Committed,

    /// <summary>The upload is gone, or is another bucket's or key's.</summary>
    NoSuchUpload,

    /// <summary>A part is missing or its ETag or checksum is another: S3's InvalidPart.</summary>
    InvalidPart,

    /// <summary>The list is not in rising order: S3's InvalidPartOrder.</summary>
    InvalidPartOrder,

    /// <summary>A part but the last is under 5 MiB: S3's EntityTooSmall.</summary>
    EntityTooSmall,

    /// <summary>The whole is over 5 TiB: S3's EntityTooLarge.</summary>
    EntityTooLarge,

    /// <summary>The whole object's checksum or size is another than the client said: S3's BadDigest.</summary>
    BadDigest,

    /// <summary>The condition did not hold.</summary>
    PreconditionFailed,

    /// <summary>If-Match on a key that has no object.</summary>
    NoSuchKey,

    /// <summary>The bucket is gone.</summary>
    NoSuchBucket,
}

/// <summary>The outcome of <see cref="IMultipartUploadGrain.CompleteAsync"/>.</summary>
/// <param name="Status">How it ended.</param>
/// <param name="Version">The object, when committed.</param>
/// <param name="Part">The part that was refused, with InvalidPart and EntityTooSmall; else 0.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.CompleteResult")]
public sealed record CompleteResult([property: Id(0)] CompleteStatus Status, [property: Id(1)] ObjectVersion? Version, [property: Id(2)] int Part);

/// <summary>Lists the open uploads of one bucket. Key: the bucket id as text.</summary>
[Alias("ObjectStore.IUploadDirectoryGrain")]
public interface IUploadDirectoryGrain : IGrainWithStringKey
{
    /// <summary>Open uploads by key (UTF-8 binary order), then upload id.</summary>
    /// <param name="prefix">Only keys that start with it.</param>
    /// <param name="keyMarker">Only uploads behind this key, or with it and behind <paramref name="uploadIdMarker"/>; empty for all.</param>
    /// <param name="uploadIdMarker">Null: all of the marker key's uploads are passed over.</param>
    /// <param name="maxUploads">At most this many.</param>
    [AlwaysInterleave, Alias("List")]
    Task<ImmutableArray<UploadInfo>> ListAsync(string prefix, string keyMarker, VersionId? uploadIdMarker, int maxUploads);
}
