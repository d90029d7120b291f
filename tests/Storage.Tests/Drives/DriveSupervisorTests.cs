using System.Buffers;
using ObjectStore.Storage.Buffers;
using ObjectStore.Storage.Compaction;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Index;
using ObjectStore.Storage.Integrity;
using ObjectStore.Storage.Tests.Extents;
using ObjectStore.Storage.Volumes;
using SQLitePCL;

namespace ObjectStore.Storage.Tests.Drives;

/// <summary>Drives that go wrong while the process runs, or were wrong when it started: a clear reason, that drive or fragment set aside, the others serve.</summary>
public sealed class DriveSupervisorTests : IAsyncDisposable
{
    private readonly SupervisedDrives _drives = new();

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public ValueTask DisposeAsync() => _drives.DisposeAsync();

    [Fact]
    public async Task HealthyDrives_AreInUse_AndProbesLeaveNothing()
    {
        await _drives.OpenAsync();
        Assert.Equal(3, _drives.InUse.Count);
        await _drives.Until(() => _drives.Supervisor.Health.All(drive => drive.Statistics is not null), "probes");
        Assert.All(_drives.Supervisor.Health, drive => Assert.Equal((DriveHealthState.Healthy, ""), (drive.State, drive.Reason)));
        Assert.Equal(_drives.InUse.Keys.Order(), _drives.Supervisor.Health.Select(drive => drive.DriveId!.Value).Order());
        await _drives.CloseAsync();
        Assert.Empty(_drives.InUse);
        Assert.False(File.Exists(Path.Combine(_drives.FolderOf(0), "probe")));
    }

    [Fact]
    public async Task IndexDatabase_HasNoMappedFile()
    {
        await _drives.OpenAsync();
        await SupervisedDrives.AssertServes(_drives.StoreAt(0), await _drives.WriteAsync(_drives.StoreAt(0)));
        Assert.True(File.Exists(Path.Combine(_drives.FolderOf(0), "index.db-wal")));
        Assert.False(File.Exists(Path.Combine(_drives.FolderOf(0), "index.db-shm")));
    }

    [Fact]
    public async Task IndexDatabase_StaysLocked_WhenItsDriveHasBeenProbed()
    {
        Assert.SkipUnless(File.Exists("/proc/locks"), "the kernel does not list its locks");
        await _drives.OpenAsync();
        await _drives.Until(() => _drives.Supervisor.Health.All(drive => drive.Statistics is not null), "probes");
        for (int i = 0; i < 3; i++)
        {
            ulong inode = Posix.TryIdentify(Path.Combine(_drives.FolderOf(i), "index.db"))!.Value.Inode;
            string[] locks = await File.ReadAllLinesAsync("/proc/locks", Stop);
            Assert.Contains(locks, line => line.Contains("POSIX", StringComparison.Ordinal) && line.Contains($" {Environment.ProcessId} ", StringComparison.Ordinal) && line.Contains($":{inode} ", StringComparison.Ordinal));
        }
    }

    [Theory]
    [InlineData("gone")]
    [InlineData("replaced")]
    [InlineData("overwritten")]
    public async Task IndexDatabase_ThatThePathShowsNoMore_IsNotThere(string kind)
    {
        _drives.Settings = new DriveSupervisorOptions { ProbeInterval = TimeSpan.FromHours(1), HangLimit = TimeSpan.FromHours(4), CloseLimit = TimeSpan.FromSeconds(5) };
        await _drives.OpenAsync();
        IndexDatabase database = _drives.StoreAt(0).Engine.Index.Database;
        Assert.True(database.IsThere());
        string index = Path.Combine(_drives.FolderOf(0), "index.db");
        if (kind != "overwritten")
            File.Move(index, index + "-away");
        if (kind == "replaced")
            File.Copy(index + "-away", index);
        if (kind == "overwritten")
            await File.WriteAllBytesAsync(index, new byte[8192], Stop);
        Assert.False(database.IsThere());
    }

    [Fact]
    public async Task VanishedFolder_TakesItsDriveOut_UntilItIsBack()
    {
        await _drives.OpenAsync();
        LocalFragmentStore lost = _drives.StoreAt(1);
        FragmentWrite write = await _drives.WriteAsync(lost);
        FragmentWrite other = await _drives.WriteAsync(_drives.StoreAt(2));
        Directory.Move(_drives.FolderOf(1), _drives.FolderOf(1) + "-away");
        await _drives.Told("unavailable", $"{lost.DriveId}", "folder is gone");
        Assert.Equal(2, _drives.InUse.Count);
        await _drives.AssertUnavailable(lost, write);
        await SupervisedDrives.AssertServes(_drives.StoreAt(2), other);
        await _drives.Told("set aside", _drives.FolderOf(1), "Is the drive mounted?");
        Assert.False(Directory.Exists(_drives.FolderOf(1)));

        Directory.Move(_drives.FolderOf(1) + "-away", _drives.FolderOf(1));
        await _drives.Told("again", $"{lost.DriveId}");
        Assert.NotSame(lost, _drives.StoreAt(1));
        await SupervisedDrives.AssertServes(_drives.StoreAt(1), write);
        await _drives.AssertUnavailable(lost, write);
    }

    [Fact]
    public async Task EmptiedFolder_IsNotFormatted_ExceptByTheOperator()
    {
        await _drives.OpenAsync();
        LocalFragmentStore lost = _drives.StoreAt(0);
        await _drives.WriteAsync(lost);
        Directory.Move(_drives.FolderOf(0), _drives.FolderOf(0) + "-away");
        Directory.CreateDirectory(_drives.FolderOf(0)); // as a mount point shows itself when the drive is gone
        await _drives.Told("set aside", _drives.FolderOf(0), "no drive.json");
        Assert.Empty(Directory.GetFileSystemEntries(_drives.FolderOf(0)));
        await Assert.ThrowsAsync<DriveIdentityException>(() => _drives.Supervisor.FormatAsync(_drives.FolderOf(1), Stop));
        await Assert.ThrowsAsync<ArgumentException>(() => _drives.Supervisor.FormatAsync("/elsewhere", Stop));

        DriveHealth health = await _drives.Supervisor.FormatAsync(_drives.FolderOf(0), Stop);
        Assert.Equal(DriveHealthState.Healthy, health.State);
        Assert.NotEqual(lost.DriveId, health.DriveId);
        Assert.Equal(_drives.Supervisor.ClusterId, _drives.StoreAt(0).Engine.ClusterId);
        await SupervisedDrives.AssertServes(_drives.StoreAt(0), await _drives.WriteAsync(_drives.StoreAt(0)));
    }

    [Fact]
    public async Task ExchangedFolders_AreKnownByTheirIdentity()
    {
        await _drives.OpenAsync();
        LocalFragmentStore first = _drives.StoreAt(0), second = _drives.StoreAt(1);
        FragmentWrite firstWrite = await _drives.WriteAsync(first), secondWrite = await _drives.WriteAsync(second);
        Directory.Move(_drives.FolderOf(0), _drives.FolderOf(0) + "-away");
        Directory.Move(_drives.FolderOf(1), _drives.FolderOf(0));
        Directory.Move(_drives.FolderOf(0) + "-away", _drives.FolderOf(1));
        await _drives.Told("again", $"{first.DriveId}");
        await _drives.Told("again", $"{second.DriveId}");
        Assert.Equal(second.DriveId, _drives.StoreAt(0).DriveId);
        Assert.Equal(first.DriveId, _drives.StoreAt(1).DriveId);
        await SupervisedDrives.AssertServes(_drives.StoreAt(0), secondWrite);
        await SupervisedDrives.AssertServes(_drives.StoreAt(1), firstWrite);
        await Assert.ThrowsAsync<FragmentMissingException>(() => SupervisedDrives.ReadAsync(_drives.StoreAt(0), firstWrite));
    }

    [Fact]
    public async Task ExchangedFolders_NotYetNoticed_GetNoFilesOfTheOtherDrive()
    {
        _drives.Settings = new DriveSupervisorOptions { ProbeInterval = TimeSpan.FromHours(1), HangLimit = TimeSpan.FromHours(4), CloseLimit = TimeSpan.FromSeconds(5) };
        await _drives.OpenAsync();
        LocalFragmentStore first = _drives.StoreAt(0);
        Directory.Move(_drives.FolderOf(0), _drives.FolderOf(0) + "-away");
        Directory.Move(_drives.FolderOf(1), _drives.FolderOf(0));
        int volumes = _drives.VolumesOf(0).Length;
        Assert.Contains("another drive", (await Assert.ThrowsAsync<DriveUnavailableException>(() => _drives.WriteAsync(first))).Message, StringComparison.Ordinal);
        Assert.Equal(volumes, _drives.VolumesOf(0).Length);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task VolumeOfAnotherDrive_InTheGarbagesPlace_IsNotDeleted(bool onlyFile)
    {
        _drives.Settings = new DriveSupervisorOptions { ProbeInterval = TimeSpan.FromHours(1), HangLimit = TimeSpan.FromHours(4), CloseLimit = TimeSpan.FromSeconds(5) };
        await _drives.OpenAsync();
        LocalFragmentStore first = _drives.StoreAt(0);
        await _drives.WriteAsync(_drives.StoreAt(1));
        string own = _drives.FolderOf(0), other = Assert.Single(_drives.VolumesOf(1));
        FragmentWrite[] garbage = new FragmentWrite[4];
        for (int i = 0; i < garbage.Length; i++)
            garbage[i] = await _drives.WriteAsync(first, 900_000);
        byte[] foreign = await File.ReadAllBytesAsync(other, Stop);
        first.Engine.Index.Database.TryGet(garbage[0].Key, out _); // a reader of the database is open
        string place = _drives.VolumesOf(0)[0], away = onlyFile ? place + "-away" : own + "-away";
        Assert.Equal(Path.GetFileName(other), Path.GetFileName(place));
        if (onlyFile)
        {
            File.Move(place, away);
            File.Move(other, place);
        }
        else
        {
            Directory.Move(own, away);
            Directory.Move(_drives.FolderOf(1), own);
        }

        await first.DeleteAsync(garbage.Select(write => write.Key).ToArray(), Stop);
        first.Engine.Maintain();
        Assert.Equal(foreign, await File.ReadAllBytesAsync(place, Stop));
        Assert.True(first.Engine.Errors.Counts.IoErrors > 0);

        // Once its own file is back it is deleted.
        if (onlyFile)
        {
            File.Move(place, other);
            File.Move(away, place);
        }
        else
        {
            Directory.Move(own, _drives.FolderOf(1));
            Directory.Move(away, own);
        }

        first.Engine.Maintain();
        Assert.False(File.Exists(place));
        Assert.True(File.Exists(other));
    }

    [Theory]
    [InlineData("cluster", "belongs to cluster")]
    [InlineData("copy", "here twice")]
    [InlineData("damaged", "drive.json is damaged")]
    public async Task WrongFolder_InADrivesPlace_IsSetAside_AndTheRightOneComesBack(string kind, string reason)
    {
        await _drives.OpenAsync();
        LocalFragmentStore lost = _drives.StoreAt(2);
        FragmentWrite write = await _drives.WriteAsync(lost), other = await _drives.WriteAsync(_drives.StoreAt(0));
        string folder = _drives.FolderOf(2), identity = Path.Combine(folder, "drive.json"), good = await File.ReadAllTextAsync(identity, Stop);
        switch (kind)
        {
            case "cluster":
                string stranger = Path.Combine(_drives.Root, "stranger");
                await (await LocalDrives.OpenAsync(new StorageOptions { DrivePaths = [stranger] }, TimeProvider.System, () => 77, NoStorageEvents.Instance, Stop)).DisposeAsync();
                File.Copy(Path.Combine(stranger, "drive.json"), identity, overwrite: true);
                break;
            case "copy":
                File.Copy(Path.Combine(_drives.FolderOf(0), "drive.json"), identity, overwrite: true);
                break;
            default:
                await File.WriteAllTextAsync(identity, good[..30], Stop);
                break;
        }

        await _drives.Told("unavailable", $"{lost.DriveId}");
        await _drives.Told("set aside", folder, reason);
        Assert.Equal(DriveHealthState.Failed, _drives.HealthOf(2).State);
        await _drives.AssertUnavailable(lost, write);
        await SupervisedDrives.AssertServes(_drives.StoreAt(0), other);
        await File.WriteAllTextAsync(identity, good, Stop);
        await _drives.Told("again", $"{lost.DriveId}");
        await SupervisedDrives.AssertServes(_drives.StoreAt(2), write);
    }

    [Fact]
    public async Task CopyOfADrive_ThatTakesThePlaceOfTheOriginal_IsToldToBeOne()
    {
        await _drives.OpenAsync();
        LocalFragmentStore original = _drives.StoreAt(0), lost = _drives.StoreAt(2);
        string folder = _drives.FolderOf(0), copy = _drives.FolderOf(2);
        File.Copy(Path.Combine(folder, "drive.json"), Path.Combine(copy, "drive.json"), overwrite: true);
        await _drives.Told("unavailable", $"{lost.DriveId}");
        await _drives.Told("set aside", copy, "here twice");
        Directory.Move(folder, folder + "-away");
        await _drives.Told("unavailable", $"{original.DriveId}");
        await _drives.Told($"again {original.DriveId} from {copy}, a copy of {folder}");
        Assert.Equal(original.DriveId, _drives.StoreAt(2).DriveId);
        Directory.Move(folder + "-away", folder);
        await _drives.Told("set aside", folder, "here twice");
    }

    [Fact]
    public async Task SetAsideFolder_ThatBecomesUsable_IsTakenIn()
    {
        await _drives.OpenAsync();
        Guid driveId = _drives.StoreAt(1).DriveId;
        await _drives.CloseAsync();
        Directory.Move(_drives.FolderOf(1), _drives.FolderOf(1) + "-away");
        await File.WriteAllTextAsync(_drives.FolderOf(1), "no folder", Stop);
        await _drives.OpenAsync();
        Assert.Equal(2, _drives.InUse.Count);
        Assert.Equal(DriveHealthState.Failed, _drives.HealthOf(1).State);
        File.Delete(_drives.FolderOf(1));
        Directory.Move(_drives.FolderOf(1) + "-away", _drives.FolderOf(1));
        await _drives.Told("again", $"{driveId}");
        await _drives.WriteAsync(_drives.StoreAt(1));
    }

    [Fact]
    public async Task DriveThatBecomesReadOnly_IsTakenOut()
    {
        await _drives.OpenAsync();
        LocalFragmentStore drive = _drives.StoreAt(0);
        FragmentWrite write = await _drives.WriteAsync(drive);
        _drives.FaultsOf(0).ProbeError = new IOException("Read-only file system", 30);
        await _drives.Told("unavailable", $"{drive.DriveId}", "read-only");
        await _drives.AssertUnavailable(drive, write);
        await _drives.WriteAsync(_drives.StoreAt(1));
    }

    [Fact]
    public async Task ReadOnlyFileSystem_IsSetAsideAtTheStart()
    {
        await _drives.OpenAsync();
        await _drives.CloseAsync();
        string folder = _drives.FolderOf(1);
        if (!await Mount($"--bind {folder} {folder}"))
            Assert.Skip("Mounting is not allowed here.");
        try
        {
            Assert.True(await Mount($"-o remount,bind,ro {folder}"));
            await _drives.OpenAsync();
            Assert.Contains("read-only", _drives.HealthOf(1).Reason, StringComparison.Ordinal);
            Assert.Equal(2, _drives.InUse.Count);
            await _drives.CloseAsync();
        }
        finally
        {
            await Run("umount", folder);
        }
    }

    [Fact]
    public async Task FailingProbe_MakesADriveSuspect_AndFailedWhenItGoesOn()
    {
        _drives.Settings = new DriveSupervisorOptions { ProbeInterval = TimeSpan.FromMilliseconds(200), ReopenDelay = TimeSpan.FromMilliseconds(20) };
        await _drives.OpenAsync();
        LocalFragmentStore drive = _drives.StoreAt(0);
        _drives.FaultsOf(0).ProbeError = new IOException("injected EIO", Posix.ErrorIo);
        await _drives.Until(DriveHealthState.Suspect, 0, "injected EIO");
        await _drives.Told("unavailable", $"{drive.DriveId}", "3 probes in a row");
        _drives.FaultsOf(0).ProbeError = null;
        await _drives.Told("again", $"{drive.DriveId}");
    }

    [Fact]
    public async Task PoisonedVolumes_MakeADriveSuspect_AndFailedWhenThereAreMany()
    {
        _drives.Settings = new DriveSupervisorOptions { ProbeInterval = TimeSpan.FromMilliseconds(25), MaxErrors = 4, ReopenDelay = TimeSpan.FromHours(1), MaxReopenDelay = TimeSpan.FromHours(2), CloseLimit = TimeSpan.FromSeconds(5) };
        await _drives.OpenAsync();
        LocalFragmentStore drive = _drives.StoreAt(0);
        FragmentWrite write = await _drives.WriteAsync(drive);
        _drives.FaultsOf(0).FailSyncs = true;
        await Assert.ThrowsAsync<VolumePoisonedException>(() => _drives.WriteAsync(drive));
        await _drives.Until(DriveHealthState.Suspect, 0, "poisoned");
        await SupervisedDrives.AssertServes(drive, write);
        for (int i = 0; i < 3; i++)
            await Assert.ThrowsAnyAsync<StorageException>(() => _drives.WriteAsync(drive));
        await _drives.Told("unavailable", $"{drive.DriveId}", "poisoned");
        await _drives.AssertUnavailable(drive, write);
        await _drives.WriteAsync(_drives.StoreAt(1));
    }

    [Fact]
    public async Task HangingWrite_EndsAtTheLimit_AndItsMemoryIsNotUsedAgain()
    {
        _drives.Settings = Impatient;
        await _drives.OpenAsync();
        LocalFragmentStore drive = _drives.StoreAt(0);
        FragmentWrite written = await _drives.WriteAsync(drive);
        using var pool = new AlignedBufferPool(1 << 20, 8);
        AlignedBuffer pooled = pool.Rent();
        using var strange = new UncountedMemory(1 << 20);
        DriveFaults faults = _drives.FaultsOf(0);
        faults.HangWrites = true;
        faults.Stop();

        FragmentWrite[] writes = [_drives.Make(1000), _drives.Make(1 << 20), _drives.Make(1 << 20, pooled.Memory), _drives.Make(1 << 20, strange.Memory)];
        Task[] tasks = [.. writes.Select(write => drive.WriteAsync(write, true, Stop).AsTask())];
        await faults.Hanging.WaitAsync(Stop);
        await _drives.Told("unavailable", $"{drive.DriveId}", "hangs");
        foreach (Task task in tasks[..3])
            await Assert.ThrowsAsync<DriveUnavailableException>(() => task);
        await _drives.AssertUnavailable(drive, written);
        await SupervisedDrives.AssertServes(_drives.StoreAt(1), await _drives.WriteAsync(_drives.StoreAt(1)));

        // Of what the first batch had given to the kernel, the pooled memory stays pinned: the pool makes another buffer.
        bool inKernel = pooled.IsPinned;
        pool.Return(pooled);
        using AlignedBuffer next = pool.Rent();
        Assert.NotEqual(inKernel, ReferenceEquals(next, pooled));
        await _drives.Told("unavailable", $"{drive.DriveId}");
        Assert.Equal(DriveHealthState.Failed, _drives.HealthOf(0).State);

        // It answers again: the last threads leave, and only then is it opened.
        Assert.DoesNotContain(drive.DriveId, _drives.InUse.Keys);
        faults.Answer();
        await Assert.ThrowsAsync<DriveUnavailableException>(() => tasks[3]);
        await _drives.Told("again", $"{drive.DriveId}");
        await SupervisedDrives.AssertServes(_drives.StoreAt(0), written);
        await SupervisedDrives.AssertServes(_drives.StoreAt(0), await _drives.WriteAsync(_drives.StoreAt(0)));
        foreach (FragmentWrite lost in writes)
        {
            try
            {
                await SupervisedDrives.AssertServes(_drives.StoreAt(0), lost);
            }
            catch (Exception e) when (e is FragmentMissingException or FragmentCorruptException)
            {
                // Never acknowledged.
            }
        }
    }

    [Fact]
    public async Task MemoryInTheKernel_IsLostOnPurpose_AndTheTaskOfUncountedMemoryStaysOpen()
    {
        _drives.Settings = Impatient;
        await _drives.OpenAsync();
        LocalFragmentStore drive = _drives.StoreAt(0);
        await _drives.WriteAsync(drive);
        using var pool = new AlignedBufferPool(1 << 20, 8);
        AlignedBuffer pooled = pool.Rent();
        using var strange = new UncountedMemory(1 << 20);
        DriveFaults faults = _drives.FaultsOf(0);
        faults.HangWrites = true;
        faults.Stop();
        Task blocker = drive.WriteAsync(_drives.Make(300 << 10, pooled.Memory[..(300 << 10)]), true, Stop).AsTask();
        await faults.Hanging.WaitAsync(Stop);
        Task queued = drive.WriteAsync(_drives.Make(1 << 20, strange.Memory), true, Stop).AsTask();
        await Assert.ThrowsAsync<DriveUnavailableException>(() => blocker);
        await Assert.ThrowsAsync<DriveUnavailableException>(() => queued); // the kernel never had it
        Assert.True(pooled.IsPinned);
        pool.Return(pooled);
        Assert.NotSame(pooled, pool.Rent());
        faults.Answer();
        await _drives.Told("again", $"{drive.DriveId}");
        Assert.False(pooled.IsPinned);

        drive = _drives.StoreAt(0);
        faults.HangWrites = true;
        faults.Stop();
        Task open = drive.WriteAsync(_drives.Make(1 << 20, strange.Memory), true, Stop).AsTask();
        await _drives.Until(() => !_drives.InUse.ContainsKey(drive.DriveId), "the second failure");
        await _drives.AssertUnavailable(drive, _drives.Make(1));
        Assert.False(open.IsCompleted);
        faults.Answer();
        await Assert.ThrowsAsync<DriveUnavailableException>(() => open);
    }

    [Fact]
    public async Task HangingWrite_AfterAVolumeWasSealedForCompaction_IsGivenUpWithoutWaiting()
    {
        _drives.Settings = new DriveSupervisorOptions { ProbeInterval = TimeSpan.FromHours(1), HangLimit = TimeSpan.FromHours(4), CloseLimit = TimeSpan.FromSeconds(5) };
        await _drives.OpenAsync();
        LocalFragmentStore drive = _drives.StoreAt(0);
        FragmentWrite kept = await _drives.WriteAsync(drive), deleted = await _drives.WriteAsync(drive, 100_000);
        await drive.DeleteAsync(new[] { deleted.Key }, Stop);
        CompactionReport report = await drive.CompactAsync(new CompactionOptions { BytesPerSecond = 0, MinActiveGarbageBytes = 1 }, Stop);
        Assert.Equal(1, report.VolumesEmptied);
        await SupervisedDrives.AssertServes(drive, kept);
        DriveFaults faults = _drives.FaultsOf(0);
        faults.HangWrites = true;
        faults.Stop();
        Task write = _drives.WriteAsync(drive);
        await faults.Hanging.WaitAsync(Stop);
        Assert.True(await Task.Run(() => drive.Fail("a test gives it up"), Stop).WaitAsync(TimeSpan.FromSeconds(20), Stop));
        await Assert.ThrowsAsync<DriveUnavailableException>(() => write);
        faults.Answer();
        await drive.Engine.LetGo.WaitAsync(TimeSpan.FromSeconds(20), Stop);
    }

    [Fact]
    public async Task HangingReads_EndAtTheLimit_WithoutThreadsOfOthers_AndNeverWriteToTheirMemoryAfterwards()
    {
        _drives.Settings = Impatient;
        (LocalFragmentStore drive, FragmentWrite write, DriveFaults faults) = await HangingDriveAsync(100_000);
        var memory = new byte[write.Payload.Length];
        using var pooled = new AlignedBuffer(1 << 20, honoursPins: true);
        Assert.False(drive.TryRead(SupervisedDrives.AddressOf(write), 0, memory));
        Task first = drive.ReadAsync(SupervisedDrives.AddressOf(write), 0, memory, Stop).AsTask();
        await faults.Hanging.WaitAsync(Stop);
        Task second = drive.ReadAsync(SupervisedDrives.AddressOf(write), 0, pooled.Memory[..write.Payload.Length], Stop).AsTask();
        await faults.Hanging.WaitAsync(Stop);
        Task[] many = [.. Enumerable.Range(0, 100).Select(_ => drive.ReadAsync(SupervisedDrives.AddressOf(write), 0, new byte[write.Payload.Length], Stop).AsTask())];
        Assert.True(ThreadPool.ThreadCount < 60);
        foreach (Task task in (Task[])[first, second, .. many])
            await Assert.ThrowsAsync<DriveUnavailableException>(() => task);
        Assert.True(pooled.IsPinned);
        faults.Answer();
        await drive.Engine.LetGo.WaitAsync(TimeSpan.FromSeconds(20), Stop);
        Assert.False(pooled.IsPinned);
        Assert.Equal(-1, memory.AsSpan().IndexOfAnyExcept((byte)0));
        await _drives.Told("again", $"{drive.DriveId}");
        await SupervisedDrives.AssertServes(_drives.StoreAt(0), write);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Drive_WhoseVolumeWasSealedOnRequest_IsGivenUpWithoutAWait(bool whileItHangs)
    {
        await _drives.OpenAsync();
        LocalFragmentStore drive = _drives.StoreAt(0);
        await _drives.WriteAsync(drive);
        Volume open = drive.Engine.Index.Volumes.Values.Single(volume => volume.State == VolumeState.Active);
        DriveFaults faults = _drives.FaultsOf(0);
        if (whileItHangs)
        {
            faults.HangWrites = true;
            faults.Stop();
        }

        Task seal = drive.Engine.SubmitAsync(open.Writer!, drive.Engine.NewSeal(open), Stop).AsTask();
        await (whileItHangs ? faults.Hanging.WaitAsync(Stop) : seal);

        // As the supervisor does, which must go on to the other drives; on a thread of its own here, since a wait would be for ever.
        await Task.Factory.StartNew(() => drive.Fail("a test"), Stop, TaskCreationOptions.LongRunning, TaskScheduler.Default).WaitAsync(TimeSpan.FromSeconds(20), Stop);
        if (whileItHangs)
            await Assert.ThrowsAsync<DriveUnavailableException>(() => seal);
        faults.Answer();
        await drive.Engine.LetGo.WaitAsync(TimeSpan.FromSeconds(20), Stop);
    }

    [Fact]
    public async Task HangingDrive_DoesNotHoldUpTheEnd()
    {
        _drives.Settings = new DriveSupervisorOptions { ProbeInterval = TimeSpan.FromMilliseconds(25), CloseLimit = TimeSpan.FromMilliseconds(300) };
        await _drives.OpenAsync();
        LocalFragmentStore drive = _drives.StoreAt(0);
        DriveFaults faults = _drives.FaultsOf(0);
        faults.HangWrites = faults.HangProbe = true;
        faults.Stop();
        Task write = _drives.WriteAsync(drive);
        await faults.Hanging.WaitAsync(Stop);
        await _drives.CloseAsync().WaitAsync(TimeSpan.FromSeconds(20), Stop);
        await Assert.ThrowsAsync<DriveUnavailableException>(() => write);
        faults.Answer();
        await drive.Engine.LetGo.WaitAsync(TimeSpan.FromSeconds(20), Stop);
    }

    /// <summary>A write that the drive's kernel does not answer.</summary>
    private async Task<Task<FragmentWrite>> BeginHangingWriteAsync(int number)
    {
        DriveFaults faults = _drives.FaultsOf(number);
        faults.HangWrites = faults.HangProbe = true;
        faults.Stop();
        Task<FragmentWrite> write = _drives.WriteAsync(_drives.StoreAt(number));
        await faults.Hanging.WaitAsync(Stop);
        return write;
    }

    [Fact]
    public async Task BeginStop_GivesUpDrivesThatHang_BeforeAndAfterIt_AndNoOthers()
    {
        _drives.Settings = new DriveSupervisorOptions { ProbeInterval = TimeSpan.FromHours(1), StopHangLimit = TimeSpan.FromSeconds(1), HangLimit = TimeSpan.FromHours(1) };
        await _drives.OpenAsync();
        LocalFragmentStore[] drives = [.. Enumerable.Range(0, 3).Select(_drives.StoreAt)];
        Task<FragmentWrite> before = await BeginHangingWriteAsync(0);
        _drives.Supervisor.BeginStop();
        await Assert.ThrowsAsync<DriveUnavailableException>(() => before);
        Task<FragmentWrite> after = await BeginHangingWriteAsync(1);
        await Assert.ThrowsAsync<DriveUnavailableException>(() => after);
        Assert.Equal([drives[2].DriveId], _drives.InUse.Keys);
        await SupervisedDrives.AssertServes(drives[2], await _drives.WriteAsync(drives[2]));
    }

    [Fact]
    public async Task Limits_ShorterThanATimerTakes_AreNoError()
    {
        var tick = TimeSpan.FromMilliseconds(1);
        _drives.Settings = new DriveSupervisorOptions { ProbeInterval = TimeSpan.FromHours(1), StopHangLimit = tick };
        await _drives.OpenAsync();
        _drives.Supervisor.BeginStop();
        await _drives.CloseAsync();
        _drives.Settings = new DriveSupervisorOptions { ProbeInterval = TimeSpan.FromHours(1), SlowLimit = tick, HangLimit = tick };
        await _drives.OpenAsync();
    }

    [Fact]
    public async Task Close_WithTwoDrivesThatHang_TakesItsLimitOnce_AndClosesTheThirdInOrder()
    {
        var time = new ManualTime();
        _drives.Time = time;
        await _drives.OpenAsync();
        LocalFragmentStore[] drives = [.. Enumerable.Range(0, 3).Select(_drives.StoreAt)];
        FragmentWrite[] kept = [.. await Task.WhenAll(drives.Select(drive => _drives.WriteAsync(drive)))];
        Task<FragmentWrite>[] hanging = [await BeginHangingWriteAsync(0), await BeginHangingWriteAsync(1)];
        Task closing = _drives.Supervisor.CloseAsync(TimeSpan.FromSeconds(9));

        // The well one while the others hang; and when it has closed, the clocks of the others run.
        await _drives.Until(() => drives[2].Engine.GetStatistics().State == DriveState.Closed, "the third drive's end");
        Assert.False(closing.IsCompleted);
        time.Advance(TimeSpan.FromSeconds(9));
        await closing.WaitAsync(TimeSpan.FromSeconds(20), Stop);
        foreach (Task<FragmentWrite> write in hanging)
            await Assert.ThrowsAsync<DriveUnavailableException>(() => write);
        foreach (int number in (int[])[0, 1])
        {
            _drives.FaultsOf(number).Answer();
            await drives[number].Engine.LetGo.WaitAsync(TimeSpan.FromSeconds(20), Stop);
        }

        await _drives.OpenAsync();
        await _drives.Told($"recovered {drives[2].DriveId} with 0 records");
        for (int number = 0; number < 3; number++)
            await SupervisedDrives.AssertServes(_drives.StoreAt(number), kept[number]);
    }

    [Fact]
    public async Task Close_EndsWhatWaitsForTheDrive_AndWaitsForWhatRuns()
    {
        (LocalFragmentStore drive, FragmentWrite write, DriveFaults faults) = await HangingDriveAsync();
        Task[] reads = [.. Enumerable.Range(0, 40).Select(_ => SupervisedDrives.ReadAsync(drive, write))];
        for (int running = 0; running < 32; running++)
            await faults.Hanging.WaitAsync(Stop);
        Task closing = drive.DisposeAsync().AsTask();
        foreach (Task read in reads[32..])
            await Assert.ThrowsAsync<ObjectDisposedException>(() => read);
        Assert.False(closing.IsCompleted);
        faults.Answer();
        await closing.WaitAsync(TimeSpan.FromSeconds(20), Stop);
        await Task.WhenAll(reads[..32]);
    }

    [Fact]
    public async Task Close_LeavesGarbageToTheNextStart()
    {
        // Without threads of their own nothing reclaims at another moment.
        var options = new StorageOptions { VolumeSizeBytes = 2 << 20, HeadroomBytes = 0, WritersPerDrive = 1 };
        var services = new EngineServices(options, TimeProvider.System, _drives.Random64, NoStorageEvents.Instance, Threaded: false);
        string folder = Path.Combine(_drives.Root, "apart");
        await using (LocalDrives opened = LocalDrives.Open([new FileDrive(folder, directIo: false)], services))
        {
            LocalFragmentStore drive = opened.Drives[0];
            FragmentWrite[] writes = [.. Enumerable.Range(0, 5).Select(_ => _drives.Make(700_000))];
            await SteppedAsync(opened, [.. writes.Select(write => drive.WriteAsync(write, true, Stop).AsTask())]);
            Volume[] full = [.. drive.Engine.Index.Volumes.Values.Where(volume => volume.State == VolumeState.Sealed)];
            Assert.NotEmpty(full);
            Assert.All(full, volume => Assert.True(drive.Engine.Index.TryPin(volume)));
            await SteppedAsync(opened, drive.DeleteAsync(writes.Select(write => write.Key).ToArray(), Stop).AsTask());
            Assert.All(full, drive.Engine.Index.Unpin);
        }

        int left = Directory.GetFiles(Path.Combine(folder, "volumes")).Length;
        await using LocalDrives again = LocalDrives.Open([new FileDrive(folder, directIo: false)], services);
        Assert.InRange(again.Drives[0].Engine.Index.Volumes.Count, 1, left - 1);
    }

    /// <summary>In the transaction that says that a volume is being deleted, and in the one that says that it is gone.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public async Task SyncThatFails_WhereGarbageIsDeleted_HasTheIndexRebuilt(int transactionsBefore)
    {
        var options = new StorageOptions { VolumeSizeBytes = 2 << 20, HeadroomBytes = 0, WritersPerDrive = 1 };
        var services = new EngineServices(options, TimeProvider.System, _drives.Random64, NoStorageEvents.Instance, Threaded: false);
        string folder = Path.Combine(_drives.Root, "apart"), mark = Path.Combine(folder, "index.db-rebuild");
        FragmentWrite kept = _drives.Make(1000);
        await using (LocalDrives opened = LocalDrives.Open([new FileDrive(folder, directIo: false)], services))
        {
            LocalFragmentStore drive = opened.Drives[0];
            FragmentWrite[] writes = [.. Enumerable.Range(0, 5).Select(_ => _drives.Make(700_000))];
            await SteppedAsync(opened, [.. writes.Append(kept).Select(write => drive.WriteAsync(write, true, Stop).AsTask())]);
            DriveIndex index = drive.Engine.Index;
            Volume full = index.Volumes.Values.First(volume => volume.State == VolumeState.Sealed);
            Assert.True(index.TryPin(full));
            await SteppedAsync(opened, drive.DeleteAsync(writes.Select(write => write.Key).ToArray(), Stop).AsTask());
            index.Unpin(full);
            int transactions = 0;
            index.Database.CheckpointPages = 1;
            index.Database.Checkpointing = () => ++transactions > transactionsBefore ? raw.SQLITE_IOERR_FSYNC : raw.SQLITE_OK;
            drive.Engine.Maintain();
            Assert.Equal(transactionsBefore + 1, transactions);
            Assert.True(index.IsRebuildDue);
            Assert.True(File.Exists(mark));
            Assert.Equal(transactionsBefore == 0, File.Exists(Path.Combine(folder, "volumes", $"{full.Id:D8}.vol")));
        }

        await using LocalDrives again = LocalDrives.Open([new FileDrive(folder, directIo: false)], services);
        Assert.False(File.Exists(mark));
        Task read = SupervisedDrives.AssertServes(again.Drives[0], kept);
        await SteppedAsync(again, read);
    }

    private static async Task SteppedAsync(LocalDrives drives, params Task[] tasks)
    {
        Task all = Task.WhenAll(tasks);
        while (!all.IsCompleted && drives.Step())
        {
        }

        await all.WaitAsync(TimeSpan.FromSeconds(20), Stop);
    }

    [Fact]
    public async Task Question_OfADriveThatHangs_EndsWhenItIsCancelled()
    {
        (LocalFragmentStore drive, FragmentWrite write, DriveFaults faults) = await HangingDriveAsync();
        using var cancelled = new CancellationTokenSource();
        Task question = drive.StatAsync(write.Key, cancelled.Token).AsTask();
        await faults.Hanging.WaitAsync(Stop);
        await cancelled.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => question.WaitAsync(TimeSpan.FromSeconds(20), Stop));
    }

    [Fact]
    public async Task ListOfVolumes_OfADriveWhoseIndexHangs_EndsWhenItIsCancelled()
    {
        await _drives.OpenAsync();
        LocalFragmentStore drive = _drives.StoreAt(0);
        FragmentWrite write = await _drives.WriteAsync(drive);
        DriveIndex index = drive.Engine.Index;
        index.Flush(durable: false);
        Assert.True(drive.Engine.TryLocate(write.Key, out FragmentLocation location, out _));
        using SemaphoreSlim hangs = new(0), answers = new(0);
        index.Database.AfterRead = () =>
        {
            hangs.Release();
            answers.Wait(TimeSpan.FromSeconds(20));
        };
        Task<bool> holder = Task.Run(() => index.IsLive(write.Key, location.VolumeId, location.Offset), Stop);
        await hangs.WaitAsync(Stop);
        using var cancelled = new CancellationTokenSource();
        Task question = drive.ListVolumesAsync(cancelled.Token);
        await cancelled.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => question);
        Assert.False(holder.IsCompleted);
        index.Database.AfterRead = null;
        answers.Release(100);
        Assert.True(await holder);
        Assert.Equal(location.VolumeId, Assert.Single(await drive.ListVolumesAsync(Stop)).VolumeId);
    }

    [Fact]
    public async Task DriveThatHangsAtTheStart_IsTakenInLater()
    {
        await _drives.OpenAsync();
        FragmentWrite write = await _drives.WriteAsync(_drives.StoreAt(1));
        Guid driveId = _drives.StoreAt(1).DriveId;
        await _drives.CloseAsync();
        _drives.Settings = new DriveSupervisorOptions { ProbeInterval = TimeSpan.FromMilliseconds(25), StartLimit = TimeSpan.FromSeconds(1), CloseLimit = TimeSpan.FromSeconds(5) };
        _drives.FaultsOf(1).HangReads = true;
        _drives.FaultsOf(1).Stop();
        await _drives.OpenAsync();
        Assert.Equal(2, _drives.InUse.Count);
        Assert.Contains("recovery", _drives.HealthOf(1).Reason, StringComparison.Ordinal);
        _drives.FaultsOf(1).Answer();
        await _drives.Told("again", $"{driveId}");
        await SupervisedDrives.AssertServes(_drives.StoreAt(1), write);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task StartWithoutADriveThatIsReady_WaitsWhileRecoveryGoesOn_AndNoLonger(bool goesOn)
    {
        await _drives.OpenAsync();
        FragmentWrite write = await _drives.WriteAsync(_drives.StoreAt(1));
        await _drives.WriteAsync(_drives.StoreAt(0));
        await _drives.WriteAsync(_drives.StoreAt(2));
        await _drives.CloseAsync();
        var time = new ManualTime();
        _drives.Time = time;
        for (int number = 0; number < 3; number++)
        {
            _drives.FaultsOf(number).HangReads = true;
            _drives.FaultsOf(number).LetGo = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            _drives.FaultsOf(number).Stop();
        }

        Task opening = _drives.OpenAsync();
        for (int number = 0; number < 3; number++)
            await _drives.FaultsOf(number).Hanging.WaitAsync(Stop);
        await _drives.Until(() => time.UntilNext == _drives.Settings.StartLimit, "the limit");
        time.Advance(_drives.Settings.StartLimit);
        for (int number = 0; number < 3; number++)
            await _drives.Told("goes on", _drives.FolderOf(number));
        await _drives.Until(() => time.UntilNext == _drives.Settings.StartLimit, "the next limit");
        Assert.False(opening.IsCompleted);
        if (goesOn)
        {
            _drives.FaultsOf(1).Answer();
            await opening.WaitAsync(TimeSpan.FromSeconds(20), Stop);
            await SupervisedDrives.AssertServes(_drives.StoreAt(1), write);
            Assert.Contains("recovery", _drives.HealthOf(0).Reason, StringComparison.Ordinal);
            return;
        }

        time.Advance(_drives.Settings.StartLimit);
        DriveIdentityException refusal = await Assert.ThrowsAsync<DriveIdentityException>(() => opening.WaitAsync(TimeSpan.FromSeconds(20), Stop));
        Assert.Contains("recovery has not ended", refusal.Message, StringComparison.Ordinal);
        for (int number = 0; number < 3; number++)
        {
            _drives.FaultsOf(number).Answer();
            await _drives.FaultsOf(number).LetGo.Task.WaitAsync(TimeSpan.FromSeconds(20), Stop);
        }
    }

    [Fact]
    public async Task DriveThatHangsWhileItIsFormatted_DoesNotHoldUpTheStart_AndIsTakenInLater()
    {
        _drives.Settings = new DriveSupervisorOptions { ProbeInterval = TimeSpan.FromMilliseconds(25), StartLimit = TimeSpan.FromSeconds(1), CloseLimit = TimeSpan.FromSeconds(5) };
        _drives.FaultsOf(1).HangWrites = true;
        _drives.FaultsOf(1).Stop();
        await _drives.OpenAsync().WaitAsync(TimeSpan.FromSeconds(20), Stop);
        Assert.Equal(2, _drives.InUse.Count);
        Assert.Contains("formatting", _drives.HealthOf(1).Reason, StringComparison.Ordinal);
        _drives.FaultsOf(1).Answer();
        await _drives.Until(() => _drives.InUse.Count == 3, "the third drive");
        await SupervisedDrives.AssertServes(_drives.StoreAt(1), await _drives.WriteAsync(_drives.StoreAt(1)));
    }

    [Fact]
    public async Task FullDrive_RefusesWrites_AndGoesOnServing()
    {
        await _drives.OpenAsync();
        LocalFragmentStore drive = _drives.StoreAt(0);
        FragmentWrite write = await _drives.WriteAsync(drive), gone = await _drives.WriteAsync(drive);
        _drives.FaultsOf(0).FreeBytes = 0;
        for (bool full = false; !full;)
        {
            try
            {
                await _drives.WriteAsync(drive, 500_000);
            }
            catch (DriveFullException)
            {
                full = true;
            }
        }

        await _drives.Until(DriveHealthState.Full, 0, "full");
        await SupervisedDrives.AssertServes(drive, write);
        _drives.FaultsOf(0).FreeBytes = null;
        await drive.DeleteAsync(new[] { gone.Key }, Stop);
        await _drives.WriteAsync(drive, 500_000);
        await _drives.Until(DriveHealthState.Healthy, 0, "");
    }

    [Theory]
    [InlineData(false, 0)]
    [InlineData(false, 500_000)]
    [InlineData(true, 0)]
    [InlineData(true, 500_000)]
    public async Task TruncatedVolume_LosesItsFragmentsOnly(bool beforeStart, long length)
    {
        await _drives.OpenAsync();
        LocalFragmentStore drive = _drives.StoreAt(0);
        List<FragmentWrite> writes = await FillThreeVolumesAsync(drive);
        string first = _drives.VolumesOf(0)[0];
        if (beforeStart)
            await _drives.CloseAsync();
        using (FileStream file = new(first, FileMode.Open, FileAccess.Write, FileShare.ReadWrite))
            file.SetLength(length);
        if (beforeStart)
            await _drives.OpenAsync();
        drive = _drives.StoreAt(0);
        int corrupt = 0;
        foreach (FragmentWrite write in writes)
        {
            try
            {
                await SupervisedDrives.AssertServes(drive, write);
            }
            catch (FragmentCorruptException)
            {
                corrupt++;
            }
        }

        Assert.InRange(corrupt, 1, writes.Count / 2);
        await _drives.Until(DriveHealthState.Suspect, 0, "corrupt");

        // Neither the scrub nor compaction looks for the rest of it for ever.
        long id = drive.ListVolumes().Min(volume => volume.VolumeId);
        Storage.Compaction.VolumeVerification? verification = await drive.VerifyVolumeAsync(id, 0, Stop).AsTask().WaitAsync(TimeSpan.FromSeconds(60), Stop);
        Assert.NotNull(verification);
        Assert.NotEqual(true, verification.ChecksumMatches);
        Assert.Equal(corrupt, verification.Damaged.Count);
        await drive.DeleteAsync(new[] { writes[0].Key }, Stop);
        await drive.CompactAsync(new Storage.Compaction.CompactionOptions { GarbageRatio = 0, BytesPerSecond = 0 }, Stop).AsTask().WaitAsync(TimeSpan.FromSeconds(60), Stop);
        await SupervisedDrives.AssertServes(drive, await _drives.WriteAsync(drive));
        Assert.Same(drive, _drives.StoreAt(0));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task VolumeOfANewerFormat_IsLeftAlone_AndTheOthersServe(bool loseIndex)
    {
        await _drives.OpenAsync();
        LocalFragmentStore drive = _drives.StoreAt(0);
        List<FragmentWrite> writes = await FillThreeVolumesAsync(drive);

        // The last one, so that its id would be the next to be taken; and deleted from a volume that nothing but its tombstones keeps.
        await _drives.CloseAsync();
        string newer = _drives.VolumesOf(0)[^1];
        byte[] bytes = await File.ReadAllBytesAsync(newer, Stop);
        foreach (int page in (int[])[0, 4096])
        {
            bytes[page + 8] = 9;
            BitConverter.TryWriteBytes(bytes.AsSpan(page + 4088), Crc64Nvme.Compute(bytes.AsSpan(page, 4088)));
        }

        await File.WriteAllBytesAsync(newer, bytes, Stop);
        if (loseIndex)
            File.Delete(Path.Combine(_drives.FolderOf(0), "index.db"));
        await _drives.OpenAsync();
        drive = _drives.StoreAt(0);
        await _drives.Told("newer format 9", $"{drive.DriveId}");
        int served = 0;
        foreach (FragmentWrite write in writes)
        {
            try
            {
                await SupervisedDrives.AssertServes(drive, write);
                served++;
            }
            catch (FragmentCorruptException e) when (!loseIndex)
            {
                Assert.Contains("newer format 9", e.Message, StringComparison.Ordinal);
            }
            catch (FragmentMissingException) when (loseIndex)
            {
            }
        }

        Assert.InRange(served, 1, writes.Count - 1);
        for (int i = 0; i < 20; i++)
            writes.Add(await _drives.WriteAsync(drive, 200_000));
        await drive.DeleteAsync(writes.Select(write => write.Key).ToArray(), Stop);
        drive.Engine.Maintain(durable: true);
        await _drives.CloseAsync();
        Assert.Equal(bytes, await File.ReadAllBytesAsync(newer, Stop));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task VolumeWhoseFileCannotBeOpened_IsDamage_AndTheOthersServe(bool loseIndex)
    {
        await _drives.OpenAsync();
        LocalFragmentStore drive = _drives.StoreAt(0);
        List<FragmentWrite> writes = await FillThreeVolumesAsync(drive);
        await _drives.CloseAsync();
        if (loseIndex)
            File.Delete(Path.Combine(_drives.FolderOf(0), "index.db"));
        long unopenable = long.Parse(Path.GetFileNameWithoutExtension(_drives.VolumesOf(0)[0]), System.Globalization.CultureInfo.InvariantCulture);
        _drives.FaultsOf(0).CannotOpen = id => id == unopenable;
        await _drives.OpenAsync();
        drive = _drives.StoreAt(0);
        var listed = new HashSet<FragmentKey>((await drive.ListAsync(null, null, 10_000, Stop)).Entries.Select(entry => entry.Key));
        int served = 0;
        foreach (FragmentWrite write in writes)
        {
            try
            {
                await SupervisedDrives.AssertServes(drive, write);
                served++;
            }
            catch (Exception e) when (loseIndex ? e is FragmentMissingException : e is FragmentCorruptException)
            {
                Assert.DoesNotContain(write.Key, listed);
            }
        }

        Assert.InRange(served, 1, writes.Count - 1);

        await _drives.Until(DriveHealthState.Suspect, 0, "1 operations failed");

        // Of more than one in so few it is the drive's fault.
        _drives.FaultsOf(0).CannotOpen = id => id >= unopenable;
        await _drives.CloseAsync();
        await _drives.OpenAsync();
        Assert.Equal((2, DriveHealthState.Failed), (_drives.InUse.Count, _drives.HealthOf(0).State));

        // It was the file system that was wrong, and has been mended.
        _drives.FaultsOf(0).CannotOpen = null;
        await _drives.CloseAsync();
        await _drives.OpenAsync();
        foreach (FragmentWrite write in writes)
            await SupervisedDrives.AssertServes(_drives.StoreAt(0), write);
    }

    /// <summary>Of the first drive; its index says where all of it is.</summary>
    private async Task<List<FragmentWrite>> FillThreeVolumesAsync(LocalFragmentStore drive)
    {
        var writes = new List<FragmentWrite>();
        while (_drives.VolumesOf(0).Length < 3)
            writes.Add(await _drives.WriteAsync(drive, 200_000));
        drive.Engine.Index.Flush(durable: true);
        return writes;
    }

    [Fact]
    public async Task FragmentOfAnotherGroup_IsCorrupt_AndNoOther()
    {
        await _drives.OpenAsync();
        LocalFragmentStore drive = _drives.StoreAt(0);
        FragmentWrite strange = _drives.Make(5000, group: 7), good = await _drives.WriteAsync(drive);
        await drive.WriteAsync(strange, true, Stop);
        FragmentCorruptException corrupt = await Assert.ThrowsAsync<FragmentCorruptException>(
            () => drive.ReadAsync(SupervisedDrives.AddressOf(strange) with { PlacementGroup = 8 }, 0, new byte[5000], Stop).AsTask());
        Assert.Contains("placement group 7", corrupt.Message, StringComparison.Ordinal);
        await SupervisedDrives.AssertServes(drive, strange);
        await SupervisedDrives.AssertServes(drive, good);
        await _drives.Until(DriveHealthState.Suspect, 0, "1 fragments were corrupt");
    }

    [Fact]
    public async Task Index_ThatCannotBeOpened_IsNotDeleted()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "paths elsewhere have other limits");
        await _drives.OpenAsync();
        Guid driveId = _drives.StoreAt(0).DriveId;
        FragmentWrite write = await _drives.WriteAsync(_drives.StoreAt(0));
        await _drives.CloseAsync();
        string folder = _drives.FolderOf(0), index = Path.Combine(folder, "index.db");
        byte[] before = await File.ReadAllBytesAsync(index, Stop);

        // Longer than SQLite takes: SQLITE_CANTOPEN, as where the process may open no more files.
        _drives.FaultsOf(0).IndexPath = folder + string.Concat(Enumerable.Repeat("/.", 300)) + "/index.db";
        Assert.True(File.Exists(_drives.FaultsOf(0).IndexPath));
        await _drives.OpenAsync();
        await _drives.Told("set aside", folder, "SQLite 14");
        Assert.Equal(before, await File.ReadAllBytesAsync(index, Stop));
        _drives.FaultsOf(0).IndexPath = null;
        await _drives.Told("again", $"{driveId}");
        await SupervisedDrives.AssertServes(_drives.StoreAt(0), write);
    }

    [Theory]
    [InlineData("gone")]
    [InlineData("overwritten")]
    [InlineData("truncated")]
    public async Task Index_DamagedWhileRunning_IsRebuilt(string kind)
    {
        await _drives.OpenAsync();
        LocalFragmentStore drive = _drives.StoreAt(0);
        FragmentWrite[] writes = new FragmentWrite[20];
        for (int i = 0; i < writes.Length; i++)
            writes[i] = await _drives.WriteAsync(drive);
        drive.Engine.Index.Flush(durable: true);
        string index = Path.Combine(_drives.FolderOf(0), "index.db");
        if (kind == "gone")
            File.Delete(index);
        foreach (string file in kind == "gone" ? [] : new[] { index, index + "-wal" })
        {
            using FileStream stream = new(file, FileMode.Open, FileAccess.Write, FileShare.ReadWrite | FileShare.Delete);
            var noise = new byte[stream.Length];
            new Random(3).NextBytes(noise);
            if (kind == "truncated")
                stream.SetLength(0);
            else
                stream.Write(noise);
        }

        // Whatever is answered meanwhile, it is the truth, or that there is none at the moment.
        int round = 0;
        await _drives.Until(() =>
        {
            try
            {
                FragmentWrite write = _drives.Make(3000 + round++);
                drive.WriteAsync(write, true, Stop).AsTask().GetAwaiter().GetResult();
                drive.Engine.Maintain();
            }
            catch (Exception e) when (e is DriveUnavailableException or VolumePoisonedException or ObjectDisposedException)
            {
                // Being rebuilt.
            }

            return drive.Engine.HasFailed;
        }, "the damage to be found");
        await _drives.Told("rebuild", $"{drive.DriveId}");
        await _drives.Told("again", $"{drive.DriveId}");
        foreach (FragmentWrite write in writes)
            await SupervisedDrives.AssertServes(_drives.StoreAt(0), write);
    }

    [Fact]
    public async Task IndexWhoseLogCannotBeSynced_IsRebuilt()
    {
        await _drives.OpenAsync();
        LocalFragmentStore drive = _drives.StoreAt(0);
        drive.Engine.Index.Database.Checkpointing = () => raw.SQLITE_IOERR_FSYNC;
        drive.Engine.Index.Database.CheckpointPages = 1;
        FragmentWrite write = await _drives.WriteAsync(drive);
        drive.Engine.Maintain();
        await _drives.Told("rebuild", $"{drive.DriveId}", "missed changes");
        await _drives.Told("again", $"{drive.DriveId}");
        Assert.True(drive.Engine.HasFailed);
        await SupervisedDrives.AssertServes(_drives.StoreAt(0), write);
    }

    private static DriveSupervisorOptions Impatient => new()
    {
        ProbeInterval = TimeSpan.FromMilliseconds(25),
        SlowLimit = TimeSpan.FromSeconds(1),
        HangLimit = TimeSpan.FromSeconds(2),
        ReopenDelay = TimeSpan.FromMilliseconds(20),
        CloseLimit = TimeSpan.FromSeconds(5),
    };

    private static async Task<bool> Mount(string arguments) => OperatingSystem.IsLinux() && await Run("mount", arguments) == 0;

    private static async Task<int> Run(string program, string arguments)
    {
        using System.Diagnostics.Process process = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo(program, arguments) { RedirectStandardError = true })!;
        await process.WaitForExitAsync(Stop);
        return process.ExitCode;
    }

    /// <summary>A drive with a fragment, whose reads hang from now on.</summary>
    private async Task<(LocalFragmentStore Drive, FragmentWrite Write, DriveFaults Faults)> HangingDriveAsync(int payloadBytes = 1000)
    {
        await _drives.OpenAsync();
        LocalFragmentStore drive = _drives.StoreAt(0);
        FragmentWrite write = await _drives.WriteAsync(drive, payloadBytes);
        DriveFaults faults = _drives.FaultsOf(0);
        faults.HangReads = true;
        faults.Stop();
        return (drive, write, faults);
    }

    /// <summary>Page-aligned memory of an owner who does not look at pins.</summary>
    private sealed unsafe class UncountedMemory(int lengthBytes) : MemoryManager<byte>
    {
        private readonly void* _address = System.Runtime.InteropServices.NativeMemory.AlignedAlloc((nuint)lengthBytes, 4096);

        public override Span<byte> GetSpan() => new(_address, lengthBytes);

        public override MemoryHandle Pin(int elementIndex = 0) => new((byte*)_address + elementIndex);

        public override void Unpin()
        {
        }

        protected override void Dispose(bool disposing) => System.Runtime.InteropServices.NativeMemory.AlignedFree(_address);
    }
}
