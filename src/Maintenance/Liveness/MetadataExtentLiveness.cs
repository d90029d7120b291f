using System.Collections.Immutable;
using Microsoft.Extensions.Logging;
using ObjectStore.Grains;
using ObjectStore.Metadata;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;

namespace ObjectStore.Maintenance.Liveness;

/// <summary>
/// <see cref="IExtentLiveness"/> over the metadata store. An extent's age is in its id, so that no clock of a drive matters. The grace has to be longer than any write takes: the
/// gateway commits nothing that took 48 hours to arrive.
///
/// It has a brake: where far more extents are nobody's than crashes leave behind, the metadata is more likely to be wrong (restored from an old backup, another pool's) than the data, and the
/// fragments are then what the metadata can be recovered from. From there on nothing is condemned until <see cref="ReleaseBrake"/>.
/// </summary>
public sealed partial class MetadataExtentLiveness(IMaintenanceStore metadata, TimeProvider time, TimeSpan orphanGrace, ILogger<MetadataExtentLiveness> logger) : IExtentLiveness
{
    /// <summary>Orphans that are deleted without a second thought since the start, or the last release.</summary>
    public const int FreeOrphans = 10_000;

    /// <summary>Beyond these, the share of the extents that may be orphans, of those that the scrub has judged.</summary>
    public const double MostOrphans = 0.1;

    private long _judged;
    private long _condemned;
    private int _isBraked;

    /// <summary>Whether orphans are kept because there are too many of them.</summary>
    public bool IsBraked => Volatile.Read(ref _isBraked) != 0;

    /// <summary>Lets orphans be deleted again, counting from nothing: someone has looked.</summary>
    public void ReleaseBrake()
    {
        Interlocked.Exchange(ref _judged, 0);
        Interlocked.Exchange(ref _condemned, 0);
        Volatile.Write(ref _isBraked, 0);
    }

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
    public void CountJudged(int extents) => Interlocked.Add(ref _judged, extents);

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<bool>> CondemnAsync(IReadOnlyList<FragmentDetails> fragments, CancellationToken cancellationToken = default)
    {
        if (fragments.Any(fragment => !IsOld(fragment.Descriptor.Id)))
            throw new ArgumentException("An extent within the orphan grace may belong to a write that is under way.", nameof(fragments));
        if (Brakes(fragments.Count))
            return new bool[fragments.Count];
        ImmutableArray<ExtentUse> uses = await metadata.CondemnExtentsAsync(
            [.. fragments.Select(fragment => new CondemnedExtent(ReferenceOf(fragment.Descriptor), LayoutOf(fragment)))], time.GetUtcNow().ToUnixTimeMilliseconds(), cancellationToken).ConfigureAwait(false);
        return [.. uses.Select(use => use != ExtentUse.Named)];
    }

    private bool Brakes(int more)
    {
        long condemned = Interlocked.Add(ref _condemned, more);
        if (condemned > FreeOrphans + MostOrphans * Interlocked.Read(ref _judged) && Interlocked.Exchange(ref _isBraked, 1) == 0)
            LogBrake(condemned, Interlocked.Read(ref _judged));
        return IsBraked;
    }

    [LoggerMessage(50, LogLevel.Error, "{Orphans} extents are named by nothing, while the scrub has looked at {Judged}. That is more than crashes leave behind: none is deleted any more until someone has looked whether the metadata is the right one")]
    private partial void LogBrake(long orphans, long judged);

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
