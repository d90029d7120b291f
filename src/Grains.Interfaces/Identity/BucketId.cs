using System.Globalization;
using Orleans;

namespace ObjectStore.Grains;

/// <summary>
/// The store's own name of a bucket: assigned once by the metadata store when the bucket is created, never reused, so that a
/// bucket which is deleted and made again under the same name shares no row, no grain and no cached answer with the old one.
/// </summary>
[GenerateSerializer, Immutable, Alias("ObjectStore.BucketId")]
public readonly record struct BucketId([property: Id(0)] long Value)
{
    /// <inheritdoc/>
    public override string ToString() => Value.ToString(CultureInfo.InvariantCulture);
}
