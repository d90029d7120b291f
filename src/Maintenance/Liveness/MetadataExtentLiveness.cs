using System.Collections.Immutable;
using ObjectStore.Grains;
using ObjectStore.Metadata;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;

namespace ObjectStore.Maintenance.Liveness;

/// <summary>
/// <see cref="IExtentLiveness"/> over the metadata store. An extent's age is in its id, so that no clock of a drive matters. The grace has to be longer than any write takes; one that
/// takes longer is refused when it commits, since its extents are garbage by then, and loses nothing that was acknowledged.
/// </summary>
public sealed class MetadataExtentLiveness(IMaintenanceStore metadata, TimeProvider time, TimeSpan orphanGrace) : IExtentLiveness
{
    /// <summary>72 hours.</summary>
    public static readonly TimeSpan DefaultOrphanGrace = TimeSpan.FromHours(72);

    // A snapshot is held while a batch is read.
    private const int BatchExtents = 256;

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<Liveness>> CheckAsync(IReadOnlyList<ExtentDescriptor> extents, CancellationToken cancellationToken = default)
    {
        var result = new Liveness[extents.Count];
        for (int from = 0; from < result.Length; from += BatchExtents)
        {
            ImmutableArray<ExtentReference> batch = [.. extents.Skip(from).Take(BatchExtents).Select(ReferenceOf)];
            ImmutableArray<ExtentUse> uses = await metadata.FindExtentsAsync(batch, cancellationToken).ConfigureAwait(false);
            for (int i = 0; i < uses.Length; i++)
                result[from + i] = Judge(extents[from + i].Id, uses[i]);
        }

        return result;
    }

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<bool>> CondemnAsync(IReadOnlyList<FragmentDetails> fragments, CancellationToken cancellationToken = default)
    {
        if (fragments.Any(fragment => !IsOld(fragment.Descriptor.Id)))
            throw new ArgumentException("An extent within the orphan grace may belong to a write that is under way.", nameof(fragments));
        ImmutableArray<ExtentUse> uses = await metadata.CondemnExtentsAsync(
            [.. fragments.Select(fragment => new CondemnedExtent(ReferenceOf(fragment.Descriptor), LayoutOf(fragment)))], time.GetUtcNow().ToUnixTimeMilliseconds(), cancellationToken).ConfigureAwait(false);
        return [.. uses.Select(use => use != ExtentUse.Named)];
    }

    private static ExtentReference ReferenceOf(ExtentDescriptor extent)
    {
        (ulong high, ulong low) = ((ulong)(extent.Id.Value >> 64), (ulong)extent.Id.Value);
        return new ExtentReference(new BucketId(extent.BucketId), extent.KeyUtf8, new VersionId((ulong)(extent.Version >> 64), (ulong)extent.Version), high, low);
    }

    // The length is what is known of it. Where there are more blocks than that, whoever finds one of them condemns the extent again.
    private static PartLayout LayoutOf(FragmentDetails fragment) => new(
        fragment.Descriptor.PartNumber, (long)fragment.Key.Block * fragment.BlockSizeBytes + fragment.BlockLengthBytes, fragment.Descriptor.PlacementGroup,
        (ulong)(fragment.Key.Extent.Value >> 64), (ulong)fragment.Key.Extent.Value, fragment.Scheme.Id, fragment.BlockSizeBytes, new ETag(0, 0, 0), null);

    private Liveness Judge(ExtentId extent, ExtentUse use) => use switch
    {
        ExtentUse.Named => Liveness.Live,
        ExtentUse.Garbage => Liveness.Garbage,
        _ => IsOld(extent) ? Liveness.Orphan : Liveness.Unnamed,
    };

    private bool IsOld(ExtentId extent) => extent.CreatedUnixMs < (time.GetUtcNow() - orphanGrace).ToUnixTimeMilliseconds();
}
