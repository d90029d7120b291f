using ObjectStore.Storage.Drives;

namespace ObjectStore.Storage.Tests.Drives;

/// <summary>What is wrong with a <see cref="FaultyDrive"/>. Outlives it: the same faults meet the drive when it is opened again.</summary>
internal sealed class DriveFaults
{
    private readonly ManualResetEventSlim _answers = new(true);

    public bool HangWrites { get; set; }
    public bool HangReads { get; set; }
    public bool HangProbe { get; set; }
    public bool HangIdentity { get; set; }
    public bool HangClose { get; set; }
    public bool FailSyncs { get; set; }
    public Exception? ProbeError { get; set; }
    public long? FreeBytes { get; set; }
    public string? IndexPath { get; set; }

    /// <summary>Volumes whose files the file system cannot open.</summary>
    public Func<long, bool>? CannotOpen { get; set; }

    /// <summary>Operations that hang at the moment.</summary>
    public SemaphoreSlim Hanging { get; } = new(0);

    /// <summary>Completes when the drive is let go, the first time since it was set.</summary>
    public TaskCompletionSource LetGo { get; set; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>From now on whatever is set to hang does.</summary>
    public void Stop() => _answers.Reset();

    /// <summary>What hangs goes on.</summary>
    public void Answer()
    {
        HangWrites = HangReads = HangProbe = HangIdentity = HangClose = false;
        _answers.Set();
    }

    public void Pass(bool hangs)
    {
        if (!hangs || _answers.IsSet)
            return;
        Hanging.Release();
        _answers.Wait();
    }
}

/// <summary>A drive that is a folder, with faults on command.</summary>
internal sealed class FaultyDrive(IDrive inner, DriveFaults faults) : IDrive
{
    public string Path => inner.Path;

    public string? IndexPath => faults.IndexPath ?? inner.IndexPath;

    public long CapacityBytes => inner.CapacityBytes;

    public long FreeBytes => faults.FreeBytes ?? inner.FreeBytes;

    public byte[]? ReadIdentity()
    {
        faults.Pass(faults.HangIdentity);
        return inner.ReadIdentity();
    }

    public void WriteIdentity(ReadOnlySpan<byte> content)
    {
        faults.Pass(faults.HangWrites);
        inner.WriteIdentity(content);
    }

    public void Probe(ReadOnlySpan<byte> content)
    {
        faults.Pass(faults.HangProbe);
        if (faults.ProbeError is { } error)
            throw error;
        inner.Probe(content);
    }

    public IReadOnlyList<long> ListVolumes() => inner.ListVolumes();

    public IVolumeFile CreateVolume(long volumeId, long sizeBytes) => new FaultyFile(inner.CreateVolume(volumeId, sizeBytes), faults);

    public IVolumeFile OpenVolume(long volumeId) => faults.CannotOpen?.Invoke(volumeId) == true ? throw new IOException("injected EUCLEAN", Posix.ErrorUnclean) : new FaultyFile(inner.OpenVolume(volumeId), faults);

    public void DeleteVolume(long volumeId) => inner.DeleteVolume(volumeId);

    public void Dispose()
    {
        faults.Pass(faults.HangClose);
        inner.Dispose();
        faults.LetGo.TrySetResult();
    }

    private sealed class FaultyFile(IVolumeFile inner, DriveFaults faults) : IVolumeFile
    {
        public long LengthBytes => inner.LengthBytes;

        public bool DirectIo => inner.DirectIo;

        public void Write(long offset, ReadOnlySpan<VolumeSegment> segments, bool throughCache)
        {
            faults.Pass(faults.HangWrites);
            inner.Write(offset, segments, throughCache);
        }

        public void Sync()
        {
            if (faults.FailSyncs)
                throw new IOException("injected EIO", Posix.ErrorIo);
            inner.Sync();
        }

        public void Truncate(long lengthBytes) => inner.Truncate(lengthBytes);

        public int Read(long offset, Span<byte> first, Span<byte> second, ReadCaching caching)
        {
            if (caching is ReadCaching.Only or ReadCaching.IfPresent && faults.HangReads)
                return -1;
            faults.Pass(faults.HangReads);
            return inner.Read(offset, first, second, caching);
        }

        public void BeginScan(long offset) => inner.BeginScan(offset);

        public void EndScan() => inner.EndScan();

        public long NextData(long offset) => inner.NextData(offset);

        public void Dispose() => inner.Dispose();
    }
}
