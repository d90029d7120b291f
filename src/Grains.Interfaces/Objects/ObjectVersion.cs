using System.Collections.Immutable;
using Orleans;

namespace ObjectStore.Grains;

/// <summary>
/// One version of one object, or one delete marker: all that the metadata plane knows of it. Immutable, and passed by
/// reference inside a process.
/// </summary>
[GenerateSerializer, Immutable, Alias("ObjectStore.ObjectVersion")]
public sealed record ObjectVersion
{
    /// <summary>The version's own id, unique in the store; also the id in its fragments.</summary>
    [Id(0)] public required VersionId VersionId { get; init; }

    /// <summary>True for the version an unversioned bucket keeps, which S3 calls <c>null</c>.</summary>
    [Id(1)] public bool IsNullVersion { get; init; } = true;

    /// <summary>True for a delete marker: no bytes, no ETag.</summary>
    [Id(2)] public bool IsDeleteMarker { get; init; }

    /// <summary>The object's size in bytes, 0 to 5 TiB.</summary>
    [Id(3)] public long SizeBytes { get; init; }

    /// <summary>The entity tag.</summary>
    [Id(4)] public ETag ETag { get; init; }

    /// <summary>When the version was committed, in Unix milliseconds, UTC.</summary>
    [Id(5)] public long LastModifiedUnixMs { get; init; }

    /// <summary>S3's name of the storage class; <c>STANDARD</c> unless the client asked for another.</summary>
    [Id(6)] public string StorageClass { get; init; } = "STANDARD";

    /// <summary>The headers and user metadata to give back.</summary>
    [Id(7)] public ObjectHeaders Headers { get; init; } = ObjectHeaders.Empty;

    /// <summary>Where the bytes are: the parts in order. Empty for a delete marker and for an object of 0 bytes.</summary>
    [Id(8)] public ImmutableArray<PartLayout> Parts { get; init; } = [];

    /// <summary>The additional checksum that was verified when the bytes came in, or null.</summary>
    [Id(9)] public ObjectChecksum? Checksum { get; init; }
}

/// <summary>Standard headers and user metadata, as the client gave them.</summary>
[GenerateSerializer, Immutable, Alias("ObjectStore.ObjectHeaders")]
public sealed record ObjectHeaders
{
    /// <summary>No headers at all.</summary>
    public static readonly ObjectHeaders Empty = new();

    /// <summary>Content-Type; null means S3's default, <c>binary/octet-stream</c>.</summary>
    [Id(0)] public string? ContentType { get; init; }

    /// <summary>
    /// The other headers to give back, names in lower case: cache-control, content-disposition, content-encoding, content-language,
    /// expires, x-amz-website-redirect-location, and every x-amz-meta-*. In the order in which they came.
    /// </summary>
    [Id(1)] public ImmutableArray<KeyValuePair<string, string>> Values { get; init; } = [];
}

/// <summary>The stored bytes of one part: its extent, and what is needed to read it without asking anyone else.</summary>
/// <param name="PartNumber">1 to 10,000; 1 for an object that was put in one piece.</param>
/// <param name="LengthBytes">The part's size in bytes.</param>
/// <param name="PlacementGroup">The placement group whose drives hold the extent's shards, by the cluster map.</param>
/// <param name="ExtentHigh">Upper half of the extent id.</param>
/// <param name="ExtentLow">Lower half of the extent id.</param>
/// <param name="Scheme">The scheme the blocks are stored with: how many data and parity fragments, or copies.</param>
/// <param name="BlockSizeBytes">The size of every block but the last.</param>
/// <param name="ETag">The part's own MD5.</param>
/// <param name="Checksum">The part's own additional checksum, or null.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.PartLayout")]
public sealed record PartLayout(
    [property: Id(0)] int PartNumber,
    [property: Id(1)] long LengthBytes,
    [property: Id(2)] int PlacementGroup,
    [property: Id(3)] ulong ExtentHigh,
    [property: Id(4)] ulong ExtentLow,
    [property: Id(5)] int Scheme,
    [property: Id(6)] int BlockSizeBytes,
    [property: Id(7)] ETag ETag,
    [property: Id(8)] ObjectChecksum? Checksum);

/// <summary>An additional checksum as S3 shows it.</summary>
/// <param name="Algorithm">S3's name: CRC32, CRC32C, CRC64NVME, SHA1 or SHA256.</param>
/// <param name="IsComposite">True for a checksum of the parts' checksums (COMPOSITE); false for one over all bytes (FULL_OBJECT).</param>
/// <param name="Value">Base64, with <c>-N</c> behind a composite of N parts.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.ObjectChecksum")]
public sealed record ObjectChecksum([property: Id(0)] string Algorithm, [property: Id(1)] bool IsComposite, [property: Id(2)] string Value);
