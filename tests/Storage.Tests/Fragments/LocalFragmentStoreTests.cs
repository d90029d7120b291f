using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Tests.Simulation;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Tests.Fragments;

public sealed class LocalFragmentStoreTests : FragmentStoreContract, IDisposable
{
    private readonly TestFolder _folder = new();
    private readonly Random _random = new(5);
    private int _opened;

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Fragments_AfterARestart_AreThere_AndDeletedOnesAreNot_WithAndWithoutTheIndex()
    {
        FragmentWrite[] writes = [.. Enumerable.Range(0, 60).Select(i => Make(i * 9_000))];
        string path = Path.Combine(_folder.Path, "drive");
        await using (LocalDrives drives = await OpenDrives(path))
        {
            LocalFragmentStore store = drives.Drives[0];
            foreach (FragmentWrite write in writes)
                await store.WriteAsync(write, true, Stop);

            // Written again, in another order; then some deleted. The older copies must stay dead when the index is rebuilt.
            foreach (FragmentWrite write in writes.Reverse())
                await store.WriteAsync(write, true, Stop);
            await store.DeleteAsync(writes[..20].Select(write => write.Key).ToArray(), Stop);
        }

        for (int round = 0; round < 3; round++)
        {
            await using (LocalDrives drives = await OpenDrives(path))
            {
                LocalFragmentStore store = drives.Drives[0];
                Assert.Equal(40, (await store.GetStatisticsAsync(Stop)).LiveFragments);
                Assert.Equal(40, (await store.ListAsync(null, null, 100, Stop)).Entries.Count);
                foreach (FragmentWrite write in writes[..20])
                    await Assert.ThrowsAsync<FragmentMissingException>(() => Read(store, write, 0, write.Payload.Length));
                foreach (FragmentWrite write in writes[20..])
                    Assert.Equal(write.Payload.ToArray(), await Read(store, write, 0, write.Payload.Length));
            }

            File.Delete(Path.Combine(path, "index.db"));
        }
    }

    [Fact]
    public async Task Fragment_DeletedAndWrittenAgain_IsThere_WhenTheIndexIsRebuilt()
    {
        string path = Path.Combine(_folder.Path, "drive");
        FragmentWrite[] writes = [.. Enumerable.Range(0, 10).Select(_ => Make(20_000))];
        await using (LocalDrives drives = await OpenDrives(path))
        {
            LocalFragmentStore store = drives.Drives[0];
            for (int round = 0; round < 3; round++)
            {
                await Task.WhenAll(writes.Select(write => store.WriteAsync(write, true, Stop).AsTask()));
                if (round < 2)
                    await store.DeleteAsync(writes.Select(write => write.Key).ToArray(), Stop);
            }
        }

        File.Delete(Path.Combine(path, "index.db"));
        await using LocalDrives again = await OpenDrives(path);
        foreach (FragmentWrite write in writes)
            Assert.Equal(write.Payload.ToArray(), await Read(again.Drives[0], write, 0, 20_000));
        Assert.Equal(10, (await again.Drives[0].GetStatisticsAsync(Stop)).LiveFragments);
    }

    [Fact]
    public async Task DamagedCopy_OfAFragmentWrittenTwice_IsNotTheOneARebuildKeeps()
    {
        string path = Path.Combine(_folder.Path, "drive");
        FragmentWrite write = Make(20_000);
        await using (LocalDrives drives = await OpenDrives(path))
        {
            await drives.Drives[0].WriteAsync(write, true, Stop);
            await drives.Drives[0].WriteAsync(write, true, Stop);
            Damage(drives.Drives[0], write.Key, 10_000);
        }

        File.Delete(Path.Combine(path, "index.db"));
        await using LocalDrives again = await OpenDrives(path);
        Assert.Equal(write.Payload.ToArray(), await Read(again.Drives[0], write, 0, 20_000));
        Assert.Equal(1, (await again.Drives[0].GetStatisticsAsync(Stop)).LiveFragments);
    }

    [Fact]
    public async Task Ticket_OfAVolumeThatIsSealedOrGone_IsDurable()
    {
        await using LocalDrives drives = await OpenDrives(Path.Combine(_folder.Path, "drive"), volumeBytes: 2 << 20);
        LocalFragmentStore store = drives.Drives[0];
        var tickets = new List<FragmentTicket>();
        var keys = new List<FragmentKey>();
        for (int i = 0; i < 8; i++)
        {
            FragmentWrite write = Make(500_000);
            tickets.Add(await store.WriteAsync(write, false, Stop));
            keys.Add(write.Key);
        }

        await store.SyncAsync(tickets.ToArray(), Stop);
        Assert.True(tickets.Select(ticket => ticket.VolumeId).Distinct().Count() > 1);
        await store.DeleteAsync(keys.ToArray(), Stop);
        store.Engine.Maintain();
        await store.SyncAsync(tickets.ToArray(), Stop);
    }

    [Fact]
    public async Task Delete_OfFragmentsNotYetSynced_TakesThemAllAway()
    {
        string path = Path.Combine(_folder.Path, "drive");
        FragmentWrite[] writes = [.. Enumerable.Range(0, 24).Select(i => Make(i * 9_000))];
        await using (LocalDrives drives = await OpenDrives(path))
        {
            LocalFragmentStore store = drives.Drives[0];
            var tickets = new List<FragmentTicket>();
            foreach (FragmentWrite write in writes[..12])
                tickets.Add(await store.WriteAsync(write, false, Stop));
            Task<FragmentTicket>[] queued = [.. writes[12..].Select(write => store.WriteAsync(write, false, Stop).AsTask())];
            await store.DeleteAsync(writes.Select(write => write.Key).ToArray(), Stop);
            tickets.AddRange(await Task.WhenAll(queued));
            await store.SyncAsync(tickets.ToArray(), Stop);
            Assert.Empty((await store.ListAsync(null, null, 100, Stop)).Entries);
        }

        File.Delete(Path.Combine(path, "index.db"));
        await using LocalDrives again = await OpenDrives(path);
        Assert.Empty((await again.Drives[0].ListAsync(null, null, 100, Stop)).Entries);
    }

    [Fact]
    public async Task Ticket_OfAnotherOpening_IsNotDurable_WhateverBecameOfItsVolume()
    {
        string path = Path.Combine(_folder.Path, "drive");
        FragmentTicket ticket;
        FragmentWrite synced = Make(500_000);
        await using (LocalDrives drives = await OpenDrives(path, volumeBytes: 2 << 20))
        {
            LocalFragmentStore store = drives.Drives[0];
            await store.WriteAsync(synced, true, Stop);
            ticket = await store.WriteAsync(Make(1000), false, Stop);
            store.Fail("a test gives it up");
            await store.Engine.LetGo;
        }

        await using LocalDrives again = await OpenDrives(path, volumeBytes: 2 << 20);
        LocalFragmentStore reopened = again.Drives[0];
        await Assert.ThrowsAsync<VolumePoisonedException>(() => reopened.SyncAsync(new[] { ticket }, Stop).AsTask());

        // Nor when the volume goes, as garbage.
        FragmentKey[] all = [.. (await reopened.ListAsync(null, null, 100, Stop)).Entries.Select(entry => entry.Key)];
        await reopened.DeleteAsync(all, Stop);
        await reopened.CompactAsync(new Storage.Compaction.CompactionOptions { GarbageRatio = 0.01, MinActiveGarbageBytes = 0 }, Stop);
        reopened.Engine.Maintain();
        Assert.DoesNotContain(reopened.ListVolumes(), volume => volume.VolumeId == ticket.VolumeId);
        await Assert.ThrowsAsync<VolumePoisonedException>(() => reopened.SyncAsync(new[] { ticket }, Stop).AsTask());
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public async Task TombstonesForAVolumeOfANewerFormat_AreKept_ForWhenItCanBeReadAgain(bool loseIndex, bool compact)
    {
        string path = Path.Combine(_folder.Path, "drive"), index = Path.Combine(path, "index.db");
        FragmentWrite[] first = [.. Enumerable.Range(0, 5).Select(_ => Make(400_000))], later = [.. Enumerable.Range(0, 2).Select(_ => Make(400_000))];
        FragmentWrite[] filling = [.. Enumerable.Range(0, 6).Select(_ => Make(400_000))];
        string volume;
        long tombstones;
        await using (LocalDrives drives = await OpenDrives(path, volumeBytes: 2 << 20))
        {
            LocalFragmentStore store = drives.Drives[0];
            foreach (FragmentWrite write in first.Concat(later))
                await store.WriteAsync(write, true, Stop);
            Assert.True(store.Engine.TryLocate(first[4].Key, out FragmentLocation kept, out _));
            Assert.True(store.Engine.TryLocate(later[0].Key, out FragmentLocation other, out _));
            Assert.NotEqual(kept.VolumeId, other.VolumeId);
            tombstones = other.VolumeId;
            volume = Path.Combine(path, "volumes", $"{kept.VolumeId:D8}.vol");
            await store.DeleteAsync(first[..3].Select(write => write.Key).ToArray(), Stop);
        }

        byte[] readable = await File.ReadAllBytesAsync(volume, Stop);
        byte[] newer = [.. readable];
        foreach (int page in (int[])[0, VolumeFormat.PageBytes])
        {
            newer[page + 8] = 9;
            BitConverter.TryWriteBytes(newer.AsSpan(page + 4088), Storage.Integrity.Crc64Nvme.Compute(newer.AsSpan(page, 4088)));
        }

        await File.WriteAllBytesAsync(volume, newer, Stop);
        if (loseIndex)
            File.Delete(index);
        await using (LocalDrives drives = await OpenDrives(path, volumeBytes: 2 << 20))
        {
            // The volume of the tombstones is full, and nothing in it lives.
            LocalFragmentStore store = drives.Drives[0];
            foreach (FragmentWrite write in filling)
                await store.WriteAsync(write, true, Stop);
            Assert.Equal(Storage.Index.VolumeState.Sealed, store.ListVolumes().Single(known => known.VolumeId == tombstones).State);
            await store.DeleteAsync(later.Concat(filling).Select(write => write.Key).ToArray(), Stop);
            if (compact)
                await store.CompactAsync(new Storage.Compaction.CompactionOptions { GarbageRatio = 0.01, MinActiveGarbageBytes = 0, BytesPerSecond = 0 }, Stop);
            store.Engine.Maintain(durable: true);
            Assert.Equal(!compact, store.ListVolumes().Any(known => known.VolumeId == tombstones)); // compaction writes what is needed of it elsewhere
        }

        await File.WriteAllBytesAsync(volume, readable, Stop);
        File.Delete(index);
        await using LocalDrives again = await OpenDrives(path, volumeBytes: 2 << 20);
        foreach (FragmentWrite write in first[..3])
            await Assert.ThrowsAsync<FragmentMissingException>(() => Read(again.Drives[0], write, 0, 400_000));
        foreach (FragmentWrite write in first[3..])
            Assert.Equal(write.Payload.ToArray(), await Read(again.Drives[0], write, 0, 400_000));
        Assert.Equal(2, (await again.Drives[0].GetStatisticsAsync(Stop)).LiveFragments);
    }

    [Fact]
    public async Task TryRead_OfASmallFragment_AllocatesNothing()
    {
        await using LocalDrives drives = await OpenDrives(Path.Combine(_folder.Path, "drive"));
        LocalFragmentStore store = drives.Drives[0];
        FragmentWrite write = Make(4096);
        await store.WriteAsync(write, true, Stop);
        var bytes = new byte[4096];
        Assert.SkipUnless(store.TryRead(Address(write), 0, bytes), "the file system does not read without blocking");
        long allocated = long.MaxValue;
        for (int round = 0; round < 20 && allocated > 0; round++) // the first rounds run unoptimised code
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < 1000; i++)
                store.TryRead(Address(write), 0, bytes);
            allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        }

        Assert.Equal(0, allocated);
    }

    [Fact]
    public async Task ReadOnceAndStat_OfWhatIsInMemory_DoNotWaitForTheDrivesThreads()
    {
        await using LocalDrives drives = await OpenDrives(Path.Combine(_folder.Path, "drive"));
        LocalFragmentStore store = drives.Drives[0];
        FragmentWrite write = Make(100_000);
        await store.WriteAsync(write, true, Stop);
        var bytes = new byte[100_000];
        await store.ReadAsync(Address(write), 0, bytes, Stop); // brings it into memory where it was written past it
        Assert.SkipUnless(IsPresent(store, write.Key, bytes.Length), "the kernel does not tell what is cached, or does not keep it");
        bytes.AsSpan().Clear();
        ValueTask read = store.ReadOnceAsync(Address(write), 0, bytes, Stop);
        Assert.True(read.IsCompletedSuccessfully);
        Assert.True(write.Payload.Span.SequenceEqual(bytes));
        ValueTask<FragmentDetails?> stat = store.StatAsync(write.Key, Stop);
        Assert.True(stat.IsCompletedSuccessfully);
        Assert.Equal(write.BlockLengthBytes, (await stat)!.BlockLengthBytes);
        Assert.Null(await store.StatAsync(write.Key with { Block = 7 }, Stop));

        static bool IsPresent(LocalFragmentStore store, FragmentKey key, int length)
        {
            Assert.True(store.Engine.TryLocate(key, out FragmentLocation location, out Volume volume));
            return volume.File.Read(location.Offset, default, new byte[location.PayloadOffset + length], ReadCaching.IfPresent) == location.PayloadOffset + length;
        }
    }

    protected override async Task<IFragmentStore> OpenAsync()
    {
        // The store owns the engine; LocalDrives is only its list.
        LocalDrives drives = await OpenDrives(Path.Combine(_folder.Path, $"drive{_opened++}"));
        return drives.Drives[0];
    }

    protected override void Damage(IFragmentStore store, FragmentKey key, int offsetBytes)
    {
        var local = (LocalFragmentStore)store;
        Assert.True(local.Engine.TryLocate(key, out FragmentLocation location, out _));
        string file = Path.Combine(local.Path, "volumes", $"{location.VolumeId:D8}.vol");
        using Microsoft.Win32.SafeHandles.SafeFileHandle handle = File.OpenHandle(file, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        var one = new byte[1];
        RandomAccess.Read(handle, one, location.Offset + location.PayloadOffset + offsetBytes);
        one[0] ^= 0x10;
        RandomAccess.Write(handle, one, location.Offset + location.PayloadOffset + offsetBytes);
    }

    private Task<LocalDrives> OpenDrives(string path, long volumeBytes = 8 << 20)
        => LocalDrives.OpenAsync(new StorageOptions { DrivePaths = [path], VolumeSizeBytes = volumeBytes, HeadroomBytes = 0, WritersPerDrive = 2 }, TimeProvider.System, Random64, NoStorageEvents.Instance, Stop);

    private ulong Random64()
    {
        lock (_random)
            return (ulong)_random.NextInt64(long.MinValue, long.MaxValue);
    }
}
