using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using ObjectStore.Storage;
using ObjectStore.Storage.ErasureCoding;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Placement;
using ObjectStore.Storage.Repair;

namespace ObjectStore.Maintenance.Tests.Fixtures;

/// <summary>Does what <see cref="IFragmentRepairer"/> says, one fragment after the other, and remembers what it was asked.</summary>
internal sealed class SimpleRepairer(IFragmentStoreDirectory drives, Func<IClusterMap> map) : IFragmentRepairer
{
    private int _inside;
    private int _mostInside;

    /// <summary>The one of the data plane, which then does the work.</summary>
    public IFragmentRepairer? Real { get; set; }

    /// <summary>In the order they were begun.</summary>
    public ConcurrentQueue<BlockRepair> Asked { get; } = [];

    /// <summary>Awaited before each repair.</summary>
    public Func<BlockRepair, CancellationToken, ValueTask>? Before { get; set; }

    public int MostInside => _mostInside;

    public async ValueTask<BlockRepairResult> RepairAsync(BlockRepair work, CancellationToken cancellationToken = default)
    {
        int inside = Interlocked.Increment(ref _inside);
        InterlockedMax(ref _mostInside, inside);
        try
        {
            if (Before is { } before)
                await before(work, cancellationToken);
            Asked.Enqueue(work);
            return Real is { } real ? await real.RepairAsync(work, cancellationToken) : await RepairCoreAsync(work, cancellationToken);
        }
        finally
        {
            Interlocked.Decrement(ref _inside);
        }
    }

    private async ValueTask<BlockRepairResult> RepairCoreAsync(BlockRepair work, CancellationToken cancellationToken)
    {
        IReadOnlyList<GroupSlot> slots = map().SlotsOf(new PlacementGroupId(work.PlacementGroup));
        var intact = new byte[work.Scheme.Width][];
        ShardSet atHome = default, present = default;
        FragmentDetails? details = null;
        bool unavailable = false;
        long read = 0;
        for (int shard = 0; shard < work.Scheme.Width; shard++)
        {
            foreach (Guid id in slots[shard].Drive is { } target ? slots[shard].Sources.Prepend(target) : slots[shard].Sources)
            {
                if (work.Suspect.Contains(shard) && id == slots[shard].Drive)
                    continue;
                if (drives.Find(id) is not { } drive)
                {
                    unavailable = true;
                    continue;
                }

                try
                {
                    var key = new FragmentKey(work.Extent, work.Block, (ushort)shard);
                    if (await drive.StatAsync(key, cancellationToken) is not { } found)
                        continue;
                    byte[] payload = GC.AllocateArray<byte>(found.PayloadBytes, pinned: true);
                    await drive.ReadAsync(new FragmentAddress(key, work.PlacementGroup, work.Scheme, found.PayloadBytes), 0, payload, cancellationToken);
                    (details, intact[shard], read) = (found, payload, read + payload.Length);
                    present = present.With(shard);
                    if (id == slots[shard].Drive)
                        atHome = atHome.With(shard);
                    break;
                }
                catch (DriveUnavailableException)
                {
                    unavailable = true;
                }
                catch (StorageException)
                {
                    // Damaged or gone.
                }
            }
        }

        var lacking = new ShardSet(work.Wanted.Bits & ~atHome.Bits);
        if (lacking.IsEmpty)
            return new BlockRepairResult(BlockRepairStatus.Whole, default, read, 0, details);
        var toCompute = new ShardSet(lacking.Bits & ~present.Bits);
        if (!toCompute.IsEmpty && present.Count < work.Scheme.DataShards)
            return new BlockRepairResult(unavailable ? BlockRepairStatus.SourcesUnavailable : BlockRepairStatus.TooFewFragments, default, read, 0, details);
        Compute(work.Scheme, intact, present, toCompute, details!.PayloadBytes);
        ShardSet rebuilt = default;
        long written = 0;
        for (int shard = 0; shard < work.Scheme.Width; shard++)
        {
            if (!lacking.Contains(shard))
                continue;
            if (slots[shard].Drive is not { } id || drives.Find(id) is not { } drive)
                return new BlockRepairResult(BlockRepairStatus.TargetsUnavailable, rebuilt, read, written, details);
            try
            {
                await drive.WriteAsync(
                    new FragmentWrite(details.Descriptor, work.Scheme, details.BlockSizeBytes, work.Block, details.BlockLengthBytes, shard, intact[shard], FragmentChecksums.Of(intact[shard])), sync: true, cancellationToken);
            }
            catch (StorageException)
            {
                return new BlockRepairResult(BlockRepairStatus.TargetsUnavailable, rebuilt, read, written, details);
            }

            rebuilt = rebuilt.With(shard);
            written += intact[shard].Length;
        }

        return new BlockRepairResult(BlockRepairStatus.Whole, rebuilt, read, written, details);
    }

    private static unsafe void Compute(Scheme scheme, byte[][] shards, ShardSet present, ShardSet wanted, int shardBytes)
    {
        if (wanted.IsEmpty)
            return;
        foreach (int shard in wanted)
            shards[shard] = GC.AllocateArray<byte>(shardBytes, pinned: true);
        if (scheme.IsReplicated)
        {
            byte[] copy = shards.First((shard, i) => present.Contains(i));
            foreach (int shard in wanted)
                copy.CopyTo(shards[shard], 0);
            return;
        }

        nint[] pointers = [.. shards.Select(shard => shard is null ? 0 : Marshal.UnsafeAddrOfPinnedArrayElement(shard, 0))];
        ReedSolomon.For(scheme).Reconstruct(present, wanted, pointers, shardBytes);
    }

    private static void InterlockedMax(ref int target, int value)
    {
        for (int seen = Volatile.Read(ref target); value > seen;)
        {
            int before = Interlocked.CompareExchange(ref target, value, seen);
            if (before == seen)
                return;
            seen = before;
        }
    }
}

internal static class Sequences
{
    public static T First<T>(this IEnumerable<T> sequence, Func<T, int, bool> where) => sequence.Where(where).First();
}
