using ObjectStore.Storage.Fragments;

namespace ObjectStore.Storage.Drives;

/// <summary>
/// Opens the drives of a process and watches them while it runs. One that fails is taken out of use by itself, without anything waiting for it, and comes back by itself when it answers again.
///
/// Every few seconds each drive is probed on a thread of its own: `drive.json` is there and still the same drive's, and a small file can be written, synced, read back and deleted. Besides, how
/// long the drive has been at its oldest operation and how many errors there were of late decide whether it is healthy, suspect or given up. The supervisor's own loop never touches a drive, so
/// that one that hangs cannot hide another.
///
/// A drive that was given up is opened again, with recovery, when its path, or another of the configured ones, shows it; not before the last thread of its former life has left it, however long the
/// kernel keeps that one, because it might still write to a volume. Each time it fails again it is left alone for longer. An empty folder is never made a drive here: an unmounted mount point looks like one.
/// That takes <see cref="FormatAsync"/>.
///
/// The end has two steps. <see cref="BeginStop"/>, while the drives are still in use, gives up those that hang, so that whatever waits for one of them ends and lets go of the others. Then
/// <see cref="CloseAsync"/>, when nobody uses them any more, closes all drives at the same time, and leaves behind those that do not close within its limit.
///
/// Thread-safe. Owns the drives: disposal closes them.
/// </summary>
public sealed class DriveSupervisor : IAsyncDisposable
{
    private static readonly TimeSpan ShortestTick = TimeSpan.FromMilliseconds(1); // no timer takes less

    private readonly DriveSupervisorOptions _settings;
    private readonly TimeProvider _time;
    private readonly WatchedDrive[] _drives;
    private readonly CancellationTokenSource _stop = new();
    private readonly PeriodicTimer _timer;
    private readonly Task _loop;
    private int _disposed;

    private DriveSupervisor(LocalDrives opened, EngineServices services, DriveSupervisorOptions settings, IDriveSet set, Func<string, IDrive> open)
    {
        _settings = settings;
        _time = services.Time;
        ClusterId = opened.ClusterId;
        var claims = new DriveClaims();
        _drives = [.. services.Options.DrivePaths.Select(path => new WatchedDrive(path, ClusterId, services, settings, set, open, claims))];
        foreach (WatchedDrive drive in _drives)
        {
            string full = Path.GetFullPath(drive.Path);
            if (opened.Drives.FirstOrDefault(store => Path.GetFullPath(store.Path) == full) is { } store)
                drive.Begin(store);
            else
                drive.Begin(opened.SetAside.First(aside => aside.Path == drive.Path));
        }

        TimeSpan tick = settings.HangLimit / 4 < settings.ProbeInterval ? settings.HangLimit / 4 : settings.ProbeInterval;
        _timer = new PeriodicTimer(tick > ShortestTick ? tick : ShortestTick, _time);
        _loop = RunAsync();
    }

    /// <summary>The cluster that the drives belong to.</summary>
    public Guid ClusterId { get; }

    /// <summary>One entry for each configured path, in that order. Never waits for a drive.</summary>
    public IReadOnlyList<DriveHealth> Health => [.. _drives.Select(drive => drive.Health)];

    /// <summary>Opens the drives as <see cref="LocalDrives.OpenAsync(StorageOptions, TimeProvider, Func{ulong}, IStorageEvents, CancellationToken)"/> does, puts those that can be used into the set, and begins to watch all of them.</summary>
    /// <param name="options">The paths, and how to open what is there.</param>
    /// <param name="settings">When a drive counts as failed.</param>
    /// <param name="time">The clock of all limits.</param>
    /// <param name="nextRandom">64 random bits a call, thread-safe.</param>
    /// <param name="events">Is told of every change.</param>
    /// <param name="set">Where the drives in use are found. Must not throw or block.</param>
    /// <param name="cancellationToken">Ends the opening.</param>
    /// <exception cref="StorageOptionsException">A setting is out of range.</exception>
    /// <exception cref="DriveInUseException">No drive can be used; the first is in use by another process.</exception>
    /// <exception cref="DriveIdentityException">No drive can be used, for another reason.</exception>
    public static Task<DriveSupervisor> OpenAsync(
        StorageOptions options, DriveSupervisorOptions settings, TimeProvider time, Func<ulong> nextRandom, IStorageEvents events, IDriveSet set, CancellationToken cancellationToken = default)
    {
        options.Validate();
        var services = new EngineServices(options, time, nextRandom, events, Threaded: true) { DriveCount = options.DrivePaths.Count };
        return OpenAsync(services, settings, set, path => new FileDrive(path, options.DirectIo), cancellationToken);
    }

    internal static async Task<DriveSupervisor> OpenAsync(EngineServices services, DriveSupervisorOptions settings, IDriveSet set, Func<string, IDrive> open, CancellationToken cancellationToken)
    {
        settings.Validate();
        LocalDrives opened = await LocalDrives.OpenAsync(services, open, settings.StartLimit, cancellationToken).ConfigureAwait(false);
        return new DriveSupervisor(opened, services, settings, set, open);
    }

    /// <summary>Makes the empty folder at a configured path a new drive of the cluster and takes it into use. For an operator who has replaced a drive, and knows that it is mounted.</summary>
    /// <exception cref="ArgumentException">The path is not one of the configured ones.</exception>
    /// <exception cref="DriveIdentityException">The folder is not there, is in use, is a drive already, holds volumes, or cannot be written to.</exception>
    /// <exception cref="DriveInUseException">Another process has the folder.</exception>
    public Task<DriveHealth> FormatAsync(string path, CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(Volatile.Read(ref _disposed) != 0, this);
        string full = Path.GetFullPath(path);
        WatchedDrive drive = _drives.FirstOrDefault(drive => Path.GetFullPath(drive.Path) == full)
            ?? throw new ArgumentException($"'{path}' is not one of the configured drive folders.", nameof(path));
        return Task.Factory.StartNew(
            () =>
            {
                drive.Format();
                return drive.Health;
            },
            CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default).WaitAsync(_settings.HangLimit, _time, cancellationToken);
    }

    /// <summary>
    /// The process is about to stop: from now on a drive is given up after <see cref="DriveSupervisorOptions.StopHangLimit"/> at one operation, one that already has been at one for so long right now, and none is opened again.
    /// Requests and background work that wait for it then end with <see cref="DriveUnavailableException"/>. What it acknowledged is synced; the next start recovers it. Does not block; idempotent.
    /// </summary>
    public void BeginStop()
    {
        if (Volatile.Read(ref _disposed) != 0)
            return;
        TimeSpan tick = _settings.StopHangLimit / 8;
        if (tick < _timer.Period)
            _timer.Period = tick > ShortestTick ? tick : ShortestTick;
        foreach (WatchedDrive drive in _drives)
            drive.BeginStop();
    }

    /// <summary>As <see cref="CloseAsync"/>, within <see cref="DriveSupervisorOptions.CloseLimit"/>.</summary>
    public ValueTask DisposeAsync() => new(CloseAsync(_settings.CloseLimit));

    /// <summary>
    /// Closes all drives at the same time, each in order: what waits is written and synced, the open volumes get their close records, the index is brought up to date. A drive that has not closed
    /// within the limit is given up, and recovered at the next start; the others do not wait for it. Only the first call does anything.
    /// </summary>
    /// <param name="limit">For all of it, above zero.</param>
    public async Task CloseAsync(TimeSpan limit)
    {
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(limit, TimeSpan.Zero);
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        await _stop.CancelAsync().ConfigureAwait(false);
        await _loop.ConfigureAwait(false);
        _timer.Dispose();
        await Task.WhenAll(_drives.Select(drive => drive.CloseAsync(limit))).ConfigureAwait(false);
        _stop.Dispose();
    }

    private async Task RunAsync()
    {
        try
        {
            while (await _timer.WaitForNextTickAsync(_stop.Token).ConfigureAwait(false))
            {
                foreach (WatchedDrive drive in _drives)
                    drive.Judge();
            }
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
            // Disposed.
        }
    }
}

/// <summary>Which of the paths has which drive, so that no drive is opened twice. Thread-safe.</summary>
internal sealed class DriveClaims
{
    private readonly Dictionary<Guid, WatchedDrive> _holders = [];

    /// <summary>Null where the drive is now the asker's; else who has it.</summary>
    public WatchedDrive? TryClaim(Guid driveId, WatchedDrive asker)
    {
        lock (_holders)
            return _holders.TryAdd(driveId, asker) || _holders[driveId] == asker ? null : _holders[driveId];
    }

    public void Release(Guid driveId, WatchedDrive holder)
    {
        lock (_holders)
        {
            if (_holders.GetValueOrDefault(driveId) == holder)
                _holders.Remove(driveId);
        }
    }
}
