using System.Collections.Immutable;
using System.Globalization;
using ObjectStore.Metadata;
using Orleans;
using Orleans.Concurrency;

namespace ObjectStore.Grains;

/// <summary>Lists a bucket's open uploads. It has no state, so there may be any number of it.</summary>
[StatelessWorker, GrainType("upload-directory")]
public sealed class UploadDirectoryGrain(IMetadataStore store) : Grain, IUploadDirectoryGrain
{
    /// <inheritdoc/>
    public async Task<ImmutableArray<UploadInfo>> ListAsync(string prefix, string keyMarker, VersionId? uploadIdMarker, int maxUploads) =>
        await store.ListUploadsAsync(
            new BucketId(long.Parse(this.GetPrimaryKeyString(), NumberStyles.None, CultureInfo.InvariantCulture)), prefix, keyMarker, uploadIdMarker, maxUploads);
}
