using ObjectStore.Metadata;
using Orleans;

namespace ObjectStore.Grains;

/// <summary>One bucket. Its absence is never kept: a bucket that another activation has just made must be found.</summary>
[GrainType("bucket")]
public sealed class BucketGrain(IMetadataStore store, GrainOptions options, TimeProvider time) : Grain, IBucketGrain
{
    private readonly ValidatedCache<BucketInfo> _bucket = new(time, options.CacheRevalidation);

    private string Name => this.GetPrimaryKeyString();

    /// <inheritdoc/>
    public async Task<BucketInfo?> GetAsync()
    {
        if (_bucket.TryGet(out BucketInfo? cached))
            return cached;
        ValidatedCache<BucketInfo>.Reading reading = _bucket.BeginRead();
        BucketInfo? bucket = await store.GetBucketAsync(Name);
        _bucket.EndRead(reading, bucket);
        return bucket;
    }

    /// <inheritdoc/>
    public async Task<CreateBucketResult> CreateAsync(CreateBucketCommand command)
    {
        _bucket.Invalidate();
        long sentAt = time.GetTimestamp();
        CreateBucketResult result = await store.CreateBucketAsync(Name, command.Owner, command.Region, time.GetUtcNow().ToUnixTimeMilliseconds());
        _bucket.Set(result.Bucket, sentAt);
        return result;
    }

    /// <inheritdoc/>
    public async Task<DeleteBucketStatus> DeleteAsync()
    {
        // Not from the cache: the bucket to delete is the one that exists now, not one of its name that another activation has deleted since.
        _bucket.Invalidate();
        if (await store.GetBucketAsync(Name) is not { } bucket)
            return DeleteBucketStatus.NoSuchBucket;
        try
        {
            return await store.DeleteBucketAsync(bucket.Id, (time.GetUtcNow() + options.GarbageGrace).ToUnixTimeMilliseconds());
        }
        finally
        {
            // Whatever a read that interleaved has brought.
            _bucket.Invalidate();
        }
    }
}
