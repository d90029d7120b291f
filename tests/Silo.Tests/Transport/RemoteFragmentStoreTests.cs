using ObjectStore.Maintenance.Tests.Fixtures;
using ObjectStore.Storage;
using ObjectStore.Storage.Compaction;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Simulation;
using ObjectStore.Storage.Transport;

namespace ObjectStore.Silo.Tests.Transport;

/// <summary>A drive over loopback HTTP behaves as the drive behind it.</summary>
public sealed class RemoteFragmentStoreTests : IAsyncLifetime
{
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(20);
    private ServedDrives _served = null!;
    private RemoteStorageNode _node = null!;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private IFragmentStore Drive => Assert.Single(_node.Drives);

    public async ValueTask InitializeAsync()
    {
        _served = await ServedDrives.StartAsync();
        _node = await _served.ConnectAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await _node.DisposeAsync();
        await _served.DisposeAsync();
    }

    [Fact]
    public void Node_SaysWhoItIs()
    {
        Assert.Equal(("node-1", "host-1", ServedDrives.ClusterId, true), (_node.NodeId, _node.Host, _node.ClusterId, _node.IsReachable));
        Assert.Equal((_served.Memory.DriveId, false), (Drive.DriveId, Drive.IsLocal));
    }

    [Theory]
    [InlineData(0, true)]
    [InlineData(1, true)]
    [InlineData(65_536, true)]
    [InlineData(65_537, true)]
    [InlineData(300_000, false)]
    [InlineData(1 << 20, true)]
    [InlineData(1 << 20, false)]
    public async Task Write_StoresWhatReadGivesBack(int lengthBytes, bool sync)
    {
        FragmentWrite fragment = Make.Copy(lengthBytes);
        FragmentTicket ticket = await Drive.WriteAsync(fragment, sync, Token);
        await Drive.SyncAsync(new[] { ticket, ticket }, Token);
        byte[] read = new byte[lengthBytes];
        Assert.False(Drive.TryRead(Make.Address(fragment), 0, read));
        await Drive.ReadAsync(Make.Address(fragment), 0, read, Token);
        Assert.Equal(fragment.Payload.ToArray(), read);
    }

    [Fact]
    public async Task Read_GivesARangeOfChunks()
    {
        FragmentWrite fragment = Make.Copy(300_000);
        await Drive.WriteAsync(fragment, sync: true, Token);
        byte[] middle = new byte[2 * Make.ChunkBytes];
        await Drive.ReadAsync(Make.Address(fragment), Make.ChunkBytes, middle, Token);
        Assert.Equal(fragment.Payload.Slice(Make.ChunkBytes, middle.Length).ToArray(), middle);
        byte[] end = new byte[300_000 - (4 * Make.ChunkBytes)];
        await Drive.ReadAsync(Make.Address(fragment), 4 * Make.ChunkBytes, end, Token);
        Assert.Equal(fragment.Payload[(4 * Make.ChunkBytes)..].ToArray(), end);
        await Assert.ThrowsAsync<ArgumentException>(async () => await Drive.ReadAsync(Make.Address(fragment), 1, middle, Token));
        await Assert.ThrowsAsync<ArgumentException>(async () => await Drive.ReadAsync(Make.Address(fragment), 0, new byte[100], Token));
        await Assert.ThrowsAsync<ArgumentException>(async () => await Drive.ReadAsync(Make.Address(fragment), 4 * Make.ChunkBytes, middle, Token));
    }

    [Fact]
    public async Task ConcurrentWrites_AllArrive_InFewerRequests()
    {
        // The first write holds the drive until all others have come, so they must share requests.
        TaskCompletionSource release = new(TaskCreationOptions.RunContinuationsAsynchronously), first = new(TaskCreationOptions.RunContinuationsAsynchronously);
        _served.Memory.Fault = async (operation, _, token) =>
        {
            if (operation == FragmentOperation.Write && first.TrySetResult()) await release.Task.WaitAsync(token);
        };
        using BatchSizes sizes = new();
        FragmentWrite[] fragments = [.. Enumerable.Range(0, 200).Select(i => Make.Copy(i * 37))];
        Task<FragmentTicket>[] writes = [.. fragments.Select(fragment => Drive.WriteAsync(fragment, sync: true, Token).AsTask())];
        await first.Task.WaitAsync(Deadline, Token);
        release.SetResult();
        await Task.WhenAll(writes).WaitAsync(Deadline, Token);
        Assert.Equal(200, _served.Memory.Count);
        Assert.Contains(64, sizes.Seen);
        foreach (FragmentWrite fragment in fragments)
        {
            byte[] read = new byte[fragment.Payload.Length];
            await Drive.ReadAsync(Make.Address(fragment), 0, read, Token);
            Assert.Equal(fragment.Payload.ToArray(), read);
        }
    }

    [Fact]
    public async Task Batch_WhenOneWriteFails_FailsThatOneOnly()
    {
        TaskCompletionSource release = new(TaskCreationOptions.RunContinuationsAsynchronously), first = new(TaskCreationOptions.RunContinuationsAsynchronously);
        FragmentWrite[] fragments = [.. Enumerable.Range(0, 5).Select(_ => Make.Copy(100))];
        _served.Memory.Fault = async (operation, key, token) =>
        {
            if (first.TrySetResult()) await release.Task.WaitAsync(token);
            if (key == fragments[3].Key) throw new DriveFullException(_served.Memory.DriveId, 11, 22);
        };
        Task<FragmentTicket>[] writes = [.. fragments.Select(fragment => Drive.WriteAsync(fragment, sync: true, Token).AsTask())];
        await first.Task.WaitAsync(Deadline, Token);
        release.SetResult();
        DriveFullException full = await Assert.ThrowsAsync<DriveFullException>(() => writes[3].WaitAsync(Deadline, Token));
        Assert.Equal((Drive.DriveId, 11, 22), (full.DriveId, full.FreeBytes, full.HeadroomBytes));
        await Task.WhenAll(writes.Where((_, i) => i != 3)).WaitAsync(Deadline, Token);
        Assert.Equal(4, _served.Memory.Count);
    }

    [Fact]
    public async Task Deletes_ThatComeWhileOneIsUnderWay_ShareARequest()
    {
        FragmentWrite[] fragments = [.. Enumerable.Range(0, 300).Select(_ => Make.Copy(10))];
        await Task.WhenAll(fragments.Select(fragment => Drive.WriteAsync(fragment, sync: true, Token).AsTask())).WaitAsync(Deadline, Token);
        TaskCompletionSource release = new(TaskCreationOptions.RunContinuationsAsynchronously), first = new(TaskCreationOptions.RunContinuationsAsynchronously);
        int requests = 0;
        _served.Memory.Fault = async (operation, _, token) =>
        {
            if (operation != FragmentOperation.Delete) return;
            Interlocked.Increment(ref requests);
            if (first.TrySetResult()) await release.Task.WaitAsync(token);
        };
        Task alone = Drive.DeleteAsync(new[] { fragments[0].Key }, Token).AsTask();
        await first.Task.WaitAsync(Deadline, Token);
        Task[] deletes = [.. fragments[1..].Select(fragment => Drive.DeleteAsync(new[] { fragment.Key }, Token).AsTask())];
        using CancellationTokenSource cancel = new();
        Task givenUp = Drive.DeleteAsync(new[] { Make.Copy(1).Key }, cancel.Token).AsTask();
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => givenUp.WaitAsync(Deadline, Token));
        release.SetResult();
        await Task.WhenAll([alone, .. deletes]).WaitAsync(Deadline, Token);
        Assert.Equal((0, 2), (_served.Memory.Count, requests));
    }

    [Fact]
    public async Task Write_CancelledWhileItWaitsForABatch_IsNotStored()
    {
        TaskCompletionSource release = new(TaskCreationOptions.RunContinuationsAsynchronously), first = new(TaskCreationOptions.RunContinuationsAsynchronously);
        _served.Memory.Fault = async (_, _, token) =>
        {
            if (first.TrySetResult()) await release.Task.WaitAsync(token);
        };
        using CancellationTokenSource cancel = new();
        Task<FragmentTicket> kept = Drive.WriteAsync(Make.Copy(1), sync: true, Token).AsTask();
        await first.Task.WaitAsync(Deadline, Token);
        Task<FragmentTicket> cancelled = Drive.WriteAsync(Make.Copy(2), sync: true, cancel.Token).AsTask();
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => cancelled.WaitAsync(Deadline, Token));
        release.SetResult();
        await kept.WaitAsync(Deadline, Token);
        await Drive.WriteAsync(Make.Copy(3), sync: true, Token);
        Assert.Equal(2, _served.Memory.Count);
    }

    [Fact]
    public async Task Read_WhenCancelled_EndsAndAbortsTheRequestAtTheNode()
    {
        FragmentWrite fragment = Make.Copy(100);
        await Drive.WriteAsync(fragment, sync: true, Token);
        TaskCompletionSource begun = new(TaskCreationOptions.RunContinuationsAsynchronously), aborted = new(TaskCreationOptions.RunContinuationsAsynchronously);
        _served.Memory.Fault = async (_, _, token) =>
        {
            // TryRead asks without a token: that one is told to come again.
            if (!token.CanBeCanceled) await Task.Yield();
            else
            {
                begun.TrySetResult();
                await using CancellationTokenRegistration registration = token.Register(() => aborted.TrySetResult());
                await aborted.Task;
                token.ThrowIfCancellationRequested();
            }
        };
        using CancellationTokenSource cancel = new();
        Task read = Drive.ReadAsync(Make.Address(fragment), 0, new byte[100], cancel.Token).AsTask();
        await begun.Task.WaitAsync(Deadline, Token);
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => read.WaitAsync(Deadline, Token));
        await aborted.Task.WaitAsync(Deadline, Token);
    }

    [Fact]
    public async Task Stat_GivesAllOfTheRecord()
    {
        byte[] payload = Make.Bytes(new Scheme(6, 3).ShardBytes(1_000_000));
        FragmentWrite fragment = Make.Of(payload) with { Scheme = new Scheme(6, 3), BlockSizeBytes = 3 << 20, Block = 4, BlockLengthBytes = 1_000_000, Shard = 7 };
        Assert.Null(await Drive.StatAsync(fragment.Key, Token));
        await Drive.WriteAsync(fragment, sync: true, Token);
        FragmentDetails details = (await Drive.StatAsync(fragment.Key, Token))!, local = (await _served.Memory.StatAsync(fragment.Key, Token))!;
        Assert.Equal(local.Descriptor.KeyUtf8.ToArray(), details.Descriptor.KeyUtf8.ToArray());
        DateTimeOffset created = DateTimeOffset.FromUnixTimeMilliseconds(local.Created.ToUnixTimeMilliseconds());
        Assert.Equal(local with { Descriptor = details.Descriptor, Created = created }, details);
        Assert.Equal(local.Descriptor with { KeyUtf8 = details.Descriptor.KeyUtf8 }, details.Descriptor);
    }

    [Fact]
    public async Task Delete_TakesMoreKeysThanARequestHolds()
    {
        FragmentWrite[] fragments = [.. Enumerable.Range(0, 10).Select(_ => Make.Copy(10))];
        foreach (FragmentWrite fragment in fragments) await _served.Memory.WriteAsync(fragment, sync: true, Token);
        List<FragmentKey> keys = [.. Enumerable.Range(0, 9000).Select(_ => new FragmentKey(new ExtentId(1), 1, 1))];
        for (int i = 1; i < 10; i++) keys[i * 999] = fragments[i].Key;
        await Drive.DeleteAsync(keys.ToArray(), Token);
        Assert.Equal(fragments[0].Key, Assert.Single(_served.Memory.Keys));
    }

    [Fact]
    public async Task List_GivesPagesOfTheGroupsInOrder()
    {
        FragmentWrite[] fragments = [.. Enumerable.Range(0, 30).Select(i => Make.Copy(10, group: i % 3))];
        foreach (FragmentWrite fragment in fragments) await _served.Memory.WriteAsync(fragment, sync: true, Token);
        List<FragmentEntry> listed = [];
        FragmentKey? after = null;
        int pages = 0;
        do
        {
            FragmentPage page = await Drive.ListAsync(new HashSet<int> { 0, 2 }, after, 7, Token);
            listed.AddRange(page.Entries);
            after = page.Next;
            pages++;
        }
        while (after is not null);
        Assert.Equal([.. fragments.Where(fragment => fragment.Descriptor.PlacementGroup != 1).Select(fragment => fragment.Key)], listed.Select(entry => entry.Key));
        Assert.Equal(3, pages);
        Assert.All(listed, entry => Assert.Equal((Scheme.SingleCopy.Id, 10), (entry.SchemeId, entry.PayloadBytes)));
        Assert.Equal(30, (await Drive.ListAsync(null, null, int.MaxValue, Token)).Entries.Count);
    }

    [Fact]
    public async Task Statistics_AreThoseOfTheDrive()
    {
        await Drive.WriteAsync(Make.Copy(10), sync: true, Token);
        Assert.Equal(await _served.Memory.GetStatisticsAsync(Token), await Drive.GetStatisticsAsync(Token));
    }

    [Fact]
    public async Task Verification_TakesLongerThanARequestMay_AndTellsOfAllThatIsDamaged()
    {
        FragmentEntry[] damaged = [.. Enumerable.Range(0, 10_000).Select(i => new FragmentEntry(new FragmentKey(new ExtentId((UInt128)i + 1), i, 2), i, Scheme.SingleCopy.Id, i))];
        DriveWithVolumes drive = new(new MemoryFragmentStore(Guid.NewGuid(), TimeProvider.System), new VolumeVerification(7, false, 123_456, 42, damaged), new VolumeVerification(8, true, 99, 1, []));
        TaskCompletionSource release = new(TaskCreationOptions.RunContinuationsAsynchronously), begun = new(TaskCreationOptions.RunContinuationsAsynchronously);
        drive.Verifying = stop =>
        {
            begun.TrySetResult();
            return release.Task.WaitAsync(stop);
        };
        await using ServedDrives served = await ServedDrives.StartAsync(null, null, drive);
        await using RemoteStorageNode node = await served.ConnectAsync(ServedDrives.Quick(idleSeconds: 1));
        var remote = (IVolumeVerifier)Assert.Single(node.Drives);
        Assert.Equal([new SealedVolume(7, 123_456), new SealedVolume(8, 99)], await remote.ListSealedVolumesAsync(Token));
        Task<VolumeVerification?> first = remote.VerifyVolumeAsync(7, 1000, Token).AsTask(), second = remote.VerifyVolumeAsync(8, 2000, Token).AsTask();
        await begun.Task.WaitAsync(Deadline, Token);
        await Task.Delay(TimeSpan.FromSeconds(2), Token);
        Assert.False(first.IsCompleted || second.IsCompleted);
        Assert.Single(drive.Verified);
        release.SetResult();
        VolumeVerification found = (await first.WaitAsync(Deadline, Token))!;
        Assert.Equal((7L, false, 123_456L, 42L), (found.VolumeId, found.ChecksumMatches!.Value, found.BytesRead, found.Fragments));
        Assert.Equal(damaged, found.Damaged);
        Assert.True((await second.WaitAsync(Deadline, Token))!.ChecksumMatches);
        Assert.Equal([7L, 8], drive.Verified.Order());
        Assert.Equal([1000L, 2000], drive.Rates.Order());
    }

    [Fact]
    public async Task Verification_OutlastsANodeThatIsAwayForAMoment()
    {
        DriveWithVolumes drive = new(new MemoryFragmentStore(Guid.NewGuid(), TimeProvider.System), new VolumeVerification(7, true, 1, 1, []));
        TaskCompletionSource release = new(TaskCreationOptions.RunContinuationsAsynchronously), begun = new(TaskCreationOptions.RunContinuationsAsynchronously);
        drive.Verifying = stop =>
        {
            begun.TrySetResult();
            return release.Task.WaitAsync(stop);
        };
        await using ServedDrives served = await ServedDrives.StartAsync(null, null, drive);
        await using RemoteStorageNode node = await served.ConnectAsync();
        TaskCompletionSource lost = new(TaskCreationOptions.RunContinuationsAsynchronously);
        node.Changed += changed =>
        {
            if (!changed.IsReachable)
                lost.TrySetResult();
        };
        Task<VolumeVerification?> verification = ((IVolumeVerifier)Assert.Single(node.Drives)).VerifyVolumeAsync(7, 0, Token).AsTask();
        await begun.Task.WaitAsync(Deadline, Token);
        await served.StopAsync();
        await lost.Task.WaitAsync(Deadline, Token);
        release.SetResult();
        await served.StartAgainAsync();
        Assert.True((await verification.WaitAsync(Deadline, Token))!.ChecksumMatches);
    }

    [Fact]
    public async Task Read_WhenTheDriveHasWrongBytes_IsCorruptNeverMissing()
    {
        FragmentWrite fragment = Make.Copy(200_000);
        await Drive.WriteAsync(fragment, sync: true, Token);
        Assert.True(_served.Memory.Corrupt(fragment.Key, 150_000));
        FragmentCorruptException corrupt = await Assert.ThrowsAsync<FragmentCorruptException>(async () => await Drive.ReadAsync(Make.Address(fragment), 0, new byte[200_000], Token));
        Assert.Equal((fragment.Key.Extent, 0, 0, Drive.DriveId, 1L), (corrupt.Extent, corrupt.Block, corrupt.Shard, corrupt.DriveId, corrupt.VolumeId));
    }

    [Fact]
    public async Task Read_OfWhatIsNotThere_IsMissing()
    {
        FragmentWrite fragment = Make.Copy(10);
        FragmentMissingException missing = await Assert.ThrowsAsync<FragmentMissingException>(async () => await Drive.ReadAsync(Make.Address(fragment), 0, new byte[10], Token));
        Assert.Equal((fragment.Key.Extent, 0, 0), (missing.Extent, missing.Block, missing.Shard));
    }

    public static TheoryData<Exception, Type> Errors { get; } = new()
    {
        { new DriveFullException(Guid.Empty, 1, 2), typeof(DriveFullException) },
        { new VolumePoisonedException(Guid.Empty, 5, new IOException("broken")), typeof(VolumePoisonedException) },
        { new VolumeWriterException(Guid.Empty, new IOException("broken")), typeof(VolumeWriterException) },
        { new DriveUnavailableException(Guid.Empty, "it hangs"), typeof(DriveUnavailableException) },
        { new IOException("unforeseen"), typeof(DriveUnavailableException) },
        { new OperationCanceledException(), typeof(DriveUnavailableException) },
        { new ObjectDisposedException("drive"), typeof(DriveUnavailableException) },
    };

    [Theory, MemberData(nameof(Errors), DisableDiscoveryEnumeration = true)]
    public async Task Error_OfTheDrive_ArrivesAsWhatItIs(Exception thrown, Type expected)
    {
        _served.Memory.Fault = (_, _, _) => ValueTask.FromException(thrown);
        Assert.IsType(expected, await Record.ExceptionAsync(async () => await Drive.WriteAsync(Make.Copy(10), sync: true, Token)));
        Assert.IsType(expected, await Record.ExceptionAsync(async () => await Drive.WriteAsync(Make.Copy(100_000), sync: false, Token)));
        Assert.IsType(expected, await Record.ExceptionAsync(async () => await Drive.SyncAsync(new[] { new FragmentTicket(1, 1, 1L << 47) }, Token)));
    }

    [Fact]
    public async Task Write_WhoseChecksumsAreNotThoseOfItsPayload_IsRefusedAndNothingIsStored()
    {
        FragmentWrite fragment = Make.Copy(100_000);
        ulong[] wrong = fragment.ChunkChecksums.ToArray();
        wrong[1] ^= 1;
        await Assert.ThrowsAsync<DriveUnavailableException>(async () => await Drive.WriteAsync(fragment with { ChunkChecksums = wrong }, sync: true, Token));
        FragmentWrite small = Make.Copy(100);
        await Assert.ThrowsAsync<DriveUnavailableException>(async () => await Drive.WriteAsync(small with { ChunkChecksums = new ulong[] { 1 } }, sync: true, Token));
        Assert.Equal(0, _served.Memory.Count);
    }

    [Fact]
    public async Task Drive_ThatTheNodeDoesNotHaveAnyMore_IsUnavailable()
    {
        IFragmentStore drive = Drive;
        _served.All.Clear();
        await Assert.ThrowsAsync<DriveUnavailableException>(async () => await drive.GetStatisticsAsync(Token));
    }

    [Fact]
    public async Task Write_OfWhatNoDriveTakes_IsRefusedBeforeItIsSent()
    {
        FragmentWrite fragment = Make.Copy(100);
        foreach (FragmentWrite wrong in new[]
        {
            fragment with { BlockLengthBytes = 101 }, fragment with { Shard = 64 }, fragment with { Block = -1 }, fragment with { ChunkChecksums = default },
            fragment with { BlockSizeBytes = 99 }, fragment with { Descriptor = fragment.Descriptor with { KeyUtf8 = new byte[1025] } },
        })
        {
            await Assert.ThrowsAsync<ArgumentException>(async () => await Drive.WriteAsync(wrong, sync: true, Token));
        }
    }

    /// <summary>The sizes of the batches while it lives.</summary>
    private sealed class BatchSizes : IDisposable
    {
        private readonly System.Diagnostics.Metrics.MeterListener _listener = new();
        private readonly System.Collections.Concurrent.ConcurrentQueue<int> _seen = new();

        public BatchSizes()
        {
            _listener.InstrumentPublished = (instrument, listener) =>
            {
                if (instrument.Name == "objectstore.transport.batch.fragments") listener.EnableMeasurementEvents(instrument);
            };
            _listener.SetMeasurementEventCallback<int>((_, value, _, _) => _seen.Enqueue(value));
            _listener.Start();
        }

        public IReadOnlyCollection<int> Seen => _seen;

        public void Dispose() => _listener.Dispose();
    }
}
