using System.Globalization;
using Orleans;
using Orleans.Concurrency;

namespace ObjectStore.Grains;

/// <summary>Puts the pages of a bucket's ranges together. It holds nothing, so every silo has its own.</summary>
[GrainType("bucket-listing")]
[StatelessWorker]
public sealed class BucketListingGrain(IndexLister lister) : Grain, IBucketListingGrain
{
    /// <inheritdoc/>
    public Task<ListPage?> ListAsync(ListQuery query) =>
        lister.ListAsync(new BucketId(long.Parse(this.GetPrimaryKeyString(), NumberStyles.None, CultureInfo.InvariantCulture)), query);
}
