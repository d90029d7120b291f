using System.Collections.Immutable;
using ObjectStore.Metadata;
using Orleans;
using Orleans.Concurrency;

namespace ObjectStore.Grains;

/// <summary>Lists buckets. It has no state, so there may be any number of it.</summary>
[StatelessWorker, GrainType("bucket-directory")]
public sealed class BucketDirectoryGrain(IMetadataStore store) : Grain, IBucketDirectoryGrain
{
    /// <inheritdoc/>
    public async Task<ImmutableArray<BucketInfo>> ListAsync(string prefix, string startAfter, int maxBuckets) =>
        await store.ListBucketsAsync(prefix, startAfter, maxBuckets);
}
