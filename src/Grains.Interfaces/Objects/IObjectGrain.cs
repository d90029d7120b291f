using System.Collections.Immutable;
using Orleans;
using Orleans.Concurrency;

namespace ObjectStore.Grains;

/// <summary>
/// The order of writes to one key of one bucket, and a cache of its newest version. Key: <see cref="GrainKeys.Object"/>. It
/// has no state of its own: what it decides is committed through its index range, and the database's compare-and-swap has the
/// last word, so two activations of one grain are slow but never wrong.
/// </summary>
[Alias("ObjectStore.IObjectGrain")]
public interface IObjectGrain : IGrainWithStringKey
{
    /// <summary>The newest version (which may be a delete marker), or the one named; null if there is none.</summary>
    /// <param name="versionId">Null for the newest.</param>
    [AlwaysInterleave, Alias("Read")]
    Task<ObjectVersion?> ReadAsync(VersionId? versionId);

    /// <summary>
    /// Commits a new version whose bytes are already durable. When it returns <see cref="PutStatus.Committed"/> the version is
    /// synced in the metadata store; in every other case nothing was stored and the caller owns the bytes' removal.
    /// </summary>
    [Alias("Put")]
    Task<PutResult> PutAsync(PutCommand command);

    /// <summary>Removes the object as an unversioned bucket does; removing what is not there succeeds, as S3 has it.</summary>
    [Alias("Delete")]
    Task<DeleteResult> DeleteAsync(DeleteCommand command);
}

/// <summary>What a conditional write demands of the newest version.</summary>
/// <param name="IfAbsent">True: there must be no object (If-None-Match: *).</param>
/// <param name="IfMatch">Not empty: the object must exist with one of these ETags (If-Match).</param>
/// <param name="IfMatchAny">True: the object must exist (If-Match: *).</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.WriteCondition")]
public sealed record WriteCondition([property: Id(0)] bool IfAbsent, [property: Id(1)] ImmutableArray<ETag> IfMatch, [property: Id(2)] bool IfMatchAny);

/// <summary>A new version to commit.</summary>
/// <param name="Version">The version, complete but for nothing: its id is the idempotency token.</param>
/// <param name="Condition">What must hold of the newest version, or null.</param>
/// <param name="CompletesUpload">The multipart upload that ends with this commit, in the same transaction; null for a plain put.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.PutCommand")]
public sealed record PutCommand([property: Id(0)] ObjectVersion Version, [property: Id(1)] WriteCondition? Condition, [property: Id(2)] VersionId? CompletesUpload);

/// <summary>How a put ended.</summary>
public enum PutStatus
{
    /// <summary>The version is durable and visible.</summary>
    Committed,

    /// <summary>The condition did not hold: S3's PreconditionFailed.</summary>
    PreconditionFailed,

    /// <summary>If-Match on a key that has no object: S3's NoSuchKey.</summary>
    NoSuchKey,

    /// <summary>The bucket is gone.</summary>
    NoSuchBucket,

    /// <summary>The upload to complete is gone.</summary>
    NoSuchUpload,

    /// <summary>The metadata store has no room. Nothing was changed, for certain.</summary>
    StoreFull,

    /// <summary>Too many commits wait. Nothing was changed, for certain; it may be tried again.</summary>
    Busy,
}

/// <summary>The outcome of <see cref="IObjectGrain.PutAsync"/>.</summary>
[GenerateSerializer, Immutable, Alias("ObjectStore.PutResult")]
public sealed record PutResult([property: Id(0)] PutStatus Status, [property: Id(1)] ObjectVersion? Version);

/// <summary>What to delete.</summary>
/// <param name="Condition">What must hold of the newest version, or null.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.DeleteCommand")]
public sealed record DeleteCommand([property: Id(0)] WriteCondition? Condition);

/// <summary>How a delete ended.</summary>
public enum DeleteStatus
{
    /// <summary>There is no object under the key now, durably.</summary>
    Deleted,

    /// <summary>The condition did not hold.</summary>
    PreconditionFailed,

    /// <summary>A condition on a key that has no object.</summary>
    NoSuchKey,

    /// <summary>The bucket is gone.</summary>
    NoSuchBucket,
}

/// <summary>The outcome of <see cref="IObjectGrain.DeleteAsync"/>.</summary>
[GenerateSerializer, Immutable, Alias("ObjectStore.DeleteResult")]
public sealed record DeleteResult([property: Id(0)] DeleteStatus Status);
