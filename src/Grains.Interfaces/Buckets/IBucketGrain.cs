using System.Collections.Immutable;
using Orleans;
using Orleans.Concurrency;

namespace ObjectStore.Grains;

/// <summary>Existence, owner and configuration of one bucket. Key: the bucket's name.</summary>
[Alias("ObjectStore.IBucketGrain")]
public interface IBucketGrain : IGrainWithStringKey
{
    /// <summary>The bucket, or null when there is none of this name. Answered from the grain's cache.</summary>
    [AlwaysInterleave, Alias("Get")]
    Task<BucketInfo?> GetAsync();

    /// <summary>Creates the bucket, durably, unless there is one.</summary>
    [Alias("Create")]
    Task<CreateBucketResult> CreateAsync(CreateBucketCommand command);

    /// <summary>Deletes the bucket if it holds no object; its open multipart uploads are aborted with it.</summary>
    [Alias("Delete")]
    Task<DeleteBucketStatus> DeleteAsync();
}

/// <summary>Lists the buckets of the store. Key: <see cref="GrainKeys.BucketDirectory"/>.</summary>
[Alias("ObjectStore.IBucketDirectoryGrain")]
public interface IBucketDirectoryGrain : IGrainWithStringKey
{
    /// <summary>Every bucket whose name starts with the prefix and comes behind <paramref name="startAfter"/>, by name, up to a number of them.</summary>
    [AlwaysInterleave, Alias("List")]
    Task<ImmutableArray<BucketInfo>> ListAsync(string prefix, string startAfter, int maxBuckets);
}

/// <summary>Lists one bucket's objects across its index ranges, on the silo of the caller. Key: the bucket id as text.</summary>
[Alias("ObjectStore.IBucketListingGrain")]
public interface IBucketListingGrain : IGrainWithStringKey
{
    /// <summary>One page; null when the bucket is gone.</summary>
    [AlwaysInterleave, Alias("List")]
    Task<ListPage?> ListAsync(ListQuery query);
}

/// <summary>A bucket.</summary>
/// <param name="Id">The store's own name of it.</param>
/// <param name="Name">The name clients use.</param>
/// <param name="Owner">The access key that made it.</param>
/// <param name="Region">The region it was made for.</param>
/// <param name="CreatedUnixMs">When, in Unix milliseconds.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.BucketInfo")]
public sealed record BucketInfo(
    [property: Id(0)] BucketId Id,
    [property: Id(1)] string Name,
    [property: Id(2)] string Owner,
    [property: Id(3)] string Region,
    [property: Id(4)] long CreatedUnixMs);

/// <summary>What a new bucket is to be.</summary>
[GenerateSerializer, Immutable, Alias("ObjectStore.CreateBucketCommand")]
public sealed record CreateBucketCommand([property: Id(0)] string Owner, [property: Id(1)] string Region);

/// <summary>The outcome of <see cref="IBucketGrain.CreateAsync"/>: the bucket that exists now, and whether this call made it.</summary>
[GenerateSerializer, Immutable, Alias("ObjectStore.CreateBucketResult")]
public sealed record CreateBucketResult([property: Id(0)] bool Created, [property: Id(1)] BucketInfo Bucket);

/// <summary>How a bucket's deletion ended.</summary>
public enum DeleteBucketStatus
{
    /// <summary>The bucket is gone, durably.</summary>
    Deleted,

    /// <summary>There was none.</summary>
    NoSuchBucket,

    /// <summary>It still holds objects; nothing was changed.</summary>
    NotEmpty,
}
