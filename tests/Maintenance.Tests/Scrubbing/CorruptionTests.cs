using System.Globalization;
using ObjectStore.Maintenance.Compaction;
using ObjectStore.Maintenance.Tests.Fixtures;
using ObjectStore.Metadata;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Index;
using ObjectStore.Storage.Placement;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Maintenance.Tests.Scrubbing;

/// <summary>
/// Any bit of any fragment's record, header and payload, is flipped on the medium, over the real drives' format, index, reads, repair and scrub. OBJECTSTORE_SEED is the first seed,
/// OBJECTSTORE_RUNS how many.
/// </summary>
public sealed class CorruptionTests(ITestOutputHelper output)
{
    private const int Flips = 60;

    [Fact]
    public async Task AnyBitOfAnyFragment_ThatIsFlipped_GivesNoWrongByte_AndIsFoundAndRepaired()
    {
        int first = Number("OBJECTSTORE_SEED", Environment.TickCount & 0xFFFFF), runs = Number("OBJECTSTORE_RUNS", 1), byRead = 0, byScrub = 0, headers = 0;
        output.WriteLine($"first seed {first} (set OBJECTSTORE_SEED to replay)");
        for (int seed = first; seed < first + runs; seed++)
        {
            await using var pool = new SimulatedPool(seed, 9);
            await pool.StartAsync(spare: 0);
            PoolProcess process = pool.Process;
            await process.StartQueueAsync();
            for (int i = 0; i < 16; i++)
                await process.PutAsync((i % 4) switch { 0 => 1 + pool.Next(4000), 1 => 4096 + pool.Next(60_000), 2 => 250_000 + pool.Next(100_000), _ => 1 + pool.Next(200_000) });
            TestExtent[] extents = [.. pool.Live.Values.OrderBy(extent => extent.Id)];
            for (int flip = 0; flip < Flips; flip++)
            {
                TestExtent extent = extents[pool.Next(extents.Length)];
                FragmentKey[] keys = [.. extent.Keys];
                FragmentKey key = keys[pool.Next(keys.Length)];
                Guid drive = pool.SlotsOf(extent)[key.Shard].Drive!.Value;
                Assert.True(process.Store(drive).Local.Engine.TryLocate(key, out FragmentLocation place, out _));

                // Half of them in the header, where there are far fewer bytes.
                bool inHeader = pool.Next(2) == 0;
                headers += inHeader ? 1 : 0;
                int at = inHeader ? pool.Next(place.PayloadOffset) : place.PayloadOffset + pool.Next(place.PayloadBytes);
                string what = $"seed {seed}, flip {flip}: byte {at} of {key} ({extent.Scheme}, {place.PayloadBytes} bytes from {place.PayloadOffset}) on {drive}";
                pool.FlipBit(drive, place.VolumeId, place.Offset + at, pool.Next(8));

                // A read of it all comes by the data of every shard, and by the first copy; of that copy it may have what it needs in memory. The scrub comes by everything, here before any read.
                int shardBytes = extent.Shards[key.Block][0].Length;
                bool isRead = flip % 2 == 0 && key.Shard < extent.Scheme.DataShards && key.Shard * shardBytes < extent.BlockLength(key.Block);
                if (isRead)
                {
                    await AssertReadsRightAsync(pool, extent, what);
                    Assert.False(await process.IsIntactAsync(extent, key, drive), what);
                    await WaitForEntryAsync(process, extent, what);
                    byRead++;
                }
                else
                {
                    await process.ScrubAsync(drive);
                    Assert.True(await HasEntryAsync(process, extent), what);
                    byScrub++;
                    await AssertReadsRightAsync(pool, extent, what);
                    Assert.False(await process.IsIntactAsync(extent, key, drive), what);
                }

                await RepairAllAsync(pool, what);
                Assert.True(await process.IsIntactAsync(extent, key, drive), what);
            }

            // What was damaged is no more than garbage now: nothing is found any more, and nothing of it is in use after a restart without indexes.
            await pool.RestartAsync(loseIndexes: true);
            foreach (TestExtent extent in extents)
            {
                await AssertReadsRightAsync(pool, extent, $"seed {seed}, after the restart");
                foreach (FragmentKey key in extent.Keys)
                    Assert.True(await pool.Process.IsIntactAsync(extent, key, pool.SlotsOf(extent)[key.Shard].Drive!.Value), $"seed {seed}, after the restart: {key}");
            }
        }

        output.WriteLine($"{byRead} found by reads, {byScrub} by the scrub, {headers} of them in headers");
        Assert.True(byRead >= 5 * runs && byScrub >= 5 * runs && headers >= 10 * runs, $"{byRead}, {byScrub}, {headers}");
    }

    [Fact]
    public async Task MediumThatRots_UnderWhatIsInMemory_IsFoundByTheScrub_AndRepaired()
    {
        int seed = Number("OBJECTSTORE_SEED", Environment.TickCount & 0xFFFFF);
        output.WriteLine($"seed {seed} (set OBJECTSTORE_SEED to replay)");
        await using var pool = new SimulatedPool(seed, 9);
        await pool.StartAsync(spare: 0);
        PoolProcess process = pool.Process;
        for (int i = 0; i < 30; i++)
            await process.PutAsync(150_000 + pool.Next(100_000));
        List<(TestExtent Extent, FragmentKey Key, Guid Drive)> rotten = [];
        foreach (TestExtent extent in pool.Live.Values.OrderBy(extent => extent.Id).Take(10))
        {
            foreach (FragmentKey key in extent.Keys)
            {
                Guid drive = pool.SlotsOf(extent)[key.Shard].Drive!.Value;
                Assert.True(process.Store(drive).Local.Engine.TryLocate(key, out FragmentLocation place, out Volume volume));
                if (volume.State != VolumeState.Sealed || rotten.Exists(other => other.Extent == extent))
                    continue;
                pool.RotBit(drive, place.VolumeId, place.Offset + place.PayloadOffset + pool.Next(place.PayloadBytes), pool.Next(8));
                rotten.Add((extent, key, drive));
                Assert.True(await process.IsIntactAsync(extent, key, drive), "In memory it is.");
            }
        }

        Assert.NotEmpty(rotten);
        foreach (Guid drive in rotten.Select(one => one.Drive).Distinct())
            await process.ScrubAsync(drive);
        foreach ((TestExtent extent, FragmentKey key, _) in rotten)
            Assert.True(await HasEntryAsync(process, extent), $"{key}");
        await RepairAllAsync(pool, $"seed {seed}");

        // What was in memory is so no more.
        await pool.RestartAsync(loseIndexes: false);
        foreach ((TestExtent extent, FragmentKey key, Guid drive) in rotten)
            Assert.True(await pool.Process.IsIntactAsync(extent, key, drive), $"{key}");
    }

    [Fact]
    public async Task WhatCompactionFindsDamaged_IsHandedToRepair()
    {
        int seed = Number("OBJECTSTORE_SEED", Environment.TickCount & 0xFFFFF);
        output.WriteLine($"seed {seed} (set OBJECTSTORE_SEED to replay)");
        await using var pool = new SimulatedPool(seed, 9);
        await pool.StartAsync(spare: 0);
        PoolProcess process = pool.Process;
        for (int i = 0; i < 30; i++)
            await process.PutAsync(100_000 + pool.Next(100_000));
        TestExtent[] extents = [.. pool.Live.Values.OrderBy(extent => extent.Id)];
        FragmentKey key = extents[1].Keys.First();
        Guid drive = pool.SlotsOf(extents[1])[key.Shard].Drive!.Value;
        Assert.True(process.Store(drive).Local.Engine.TryLocate(key, out FragmentLocation place, out _));
        pool.FlipBit(drive, place.VolumeId, place.Offset + place.PayloadOffset, 3);
        foreach (TestExtent extent in extents.Where((_, i) => i != 1))
            await process.DeleteAsync(extent);
        pool.Time.Advance(TimeSpan.FromMinutes(5));
        await process.ReclaimAsync();
        await new LocalDriveCompaction(process.Store(drive).Local, process.Damage).CompactAsync(0.1, (_, _) => default, TestContext.Current.CancellationToken);
        Assert.True(await HasEntryAsync(process, extents[1]));
        Assert.Single(await process.Metadata.ListRepairsAsync(long.MaxValue, 10));
    }

    private static async Task RepairAllAsync(SimulatedPool pool, string what)
    {
        for (int round = 0; (await pool.Process.Metadata.ListRepairsAsync(long.MaxValue, 1)).Length > 0; round++)
        {
            Assert.True(round < 50, $"{what} is not repaired: {pool.Process.Repair.Status.LastFailure}");
            await pool.Process.Repair.WorkOffQueueAsync(CancellationToken.None);
            pool.Time.Advance(TimeSpan.FromSeconds(10));
        }
    }

    private static async Task AssertReadsRightAsync(SimulatedPool pool, TestExtent extent, string what)
    {
        byte[] expected = [.. Enumerable.Range(0, extent.Shards.Length).SelectMany(block => extent.Shards[block].Take(extent.Scheme.DataShards).SelectMany(shard => shard).Take(extent.BlockLength(block)))];
        int from = pool.Next(expected.Length), count = 1 + pool.Next(expected.Length - from);
        byte[] range = await pool.Process.ReadAsync(extent, from, count), all = await pool.Process.ReadAsync(extent);
        Assert.True(expected.AsSpan(from, count).SequenceEqual(range), $"{what}: {count} bytes from {from} read wrong");
        Assert.True(expected.AsSpan().SequenceEqual(all), $"{what}: reads wrong");
    }

    private static async Task WaitForEntryAsync(PoolProcess process, TestExtent extent, string what)
    {
        using CancellationTokenSource limit = new(TimeSpan.FromSeconds(20));
        while (!await HasEntryAsync(process, extent))
        {
            Assert.False(limit.IsCancellationRequested, $"{what}: no read has reported it");
            await Task.Yield();
        }
    }

    private static async Task<bool> HasEntryAsync(PoolProcess process, TestExtent extent)
        => (await process.Metadata.ListRepairsAsync(long.MaxValue, 10_000)).Any(entry => entry.Record.ExtentLow == (ulong)extent.Id.Value && entry.Record.ExtentHigh == (ulong)(extent.Id.Value >> 64));

    private static int Number(string variable, int otherwise)
        => int.TryParse(Environment.GetEnvironmentVariable(variable), NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : otherwise;
}
