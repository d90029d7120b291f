using System.Diagnostics;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Index;

namespace ObjectStore.Storage.Drives;

/// <summary>
/// One configured folder under supervision, with the drive that is served from it, if any. <see cref="Judge"/> decides from what is known in memory; all that touches the folder happens on
/// one thread of its own, which may hang with the drive.
/// </summary>
internal sealed class WatchedDrive
{
    private const int ProbeBytes = 4096;
    private const int MaxFailedProbes = 3;
    private const int SamplesPerWindow = 64;
    private const int ErrorReadOnly = 30; // EROFS

    private readonly Guid _clusterId;
    private readonly EngineServices _services;
    private readonly DriveSupervisorOptions _settings;
    private readonly IDriveSet _set;
    private readonly Func<string, IDrive> _open;
    private readonly DriveClaims _claims;
    private readonly TimeProvider _time;
    private readonly AutoResetEvent _due = new(false);
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly object _folder = new(); // held by whoever looks at the folder, perhaps for ever
    private (Guid DriveId, string Path)? _copyOf; // who had the drive when this folder was last found to be the second with it; guarded by _folder
    private readonly Lock _lock = new(); // guards what follows; never held while the drive is asked for anything
    private readonly Queue<(long Timestamp, DriveErrorCounts Counts)> _samples = new();
    private LocalFragmentStore? _store;
    private Task _letGo = Task.CompletedTask; // by the threads of the drive that was served before
    private DriveHealth _health;
    private string? _probeComplaint;
    private bool _noSpace;
    private int _failedProbes;
    private long _busySince; // timestamp of the step under way; 0 where there is none
    private long _lastStep;
    private long _openedAt;
    private long _failedAt;
    private TimeSpan _reopenDelay;
    private int _relapses; // failures with no long service between them
    private bool _stopping;
    private bool _closing;

    public WatchedDrive(string path, Guid clusterId, EngineServices services, DriveSupervisorOptions settings, IDriveSet set, Func<string, IDrive> open, DriveClaims claims)
    {
        Path = path;
        _clusterId = clusterId;
        _services = services;
        _settings = settings;
        _set = set;
        _open = open;
        _claims = claims;
        _time = services.Time;
        _health = new DriveHealth(path, null, DriveHealthState.Failed, "it has not been opened yet", _time.GetUtcNow(), default, null);
    }

    public string Path { get; }

    public DriveHealth Health
    {
        get
        {
            lock (_lock)
                return _health;
        }
    }

    public void Begin(LocalFragmentStore store)
    {
        _claims.TryClaim(store.DriveId, this);
        lock (_lock)
            TakeIn(store);
        StartThread();
    }

    public void Begin(SetAsideDrive aside)
    {
        lock (_lock)
            _health = _health with { DriveId = aside.DriveId, Reason = aside.Reason };
        StartThread();
    }

    /// <summary>Settles the drive's condition and sends the thread to look at the folder when that is due. Does not block.</summary>
    public void Judge()
    {
        lock (_lock)
        {
            if (_closing)
                return;
            TimeSpan stepBusy = _busySince == 0 ? TimeSpan.Zero : _time.GetElapsedTime(_busySince);
            if (_store is not null)
                JudgeServing(_store.Engine, stepBusy);

            // Nothing is opened any more that would be closed again at once.
            if (_busySince == 0 && _time.GetElapsedTime(_lastStep) >= _settings.ProbeInterval && !(_stopping && _store is null))
            {
                _busySince = _lastStep = _time.GetTimestamp();
                _due.Set();
            }
        }
    }

    /// <exception cref="StorageException">It cannot be formatted, and why.</exception>
    public void Format()
    {
        if (!Monitor.TryEnter(_folder, _settings.SlowLimit))
            throw new DriveIdentityException(Path, "it does not answer.");
        try
        {
            lock (_lock)
            {
                if (_store is not null)
                    throw new DriveIdentityException(Path, $"it is in use as drive {_store.DriveId}.");
            }

            if (!Directory.Exists(Path))
                throw new DriveIdentityException(Path, "the folder is not there. Is the drive mounted?");
            if (File.Exists(System.IO.Path.Combine(Path, "drive.json")))
                throw new DriveIdentityException(Path, "it has a drive.json: it is a drive already.");
            if (Open(format: true) is { } refusal)
                throw refusal;
        }
        finally
        {
            Monitor.Exit(_folder);
        }
    }

    /// <summary>From now on the drive is given up sooner, and not opened again. Does not block.</summary>
    public void BeginStop()
    {
        lock (_lock)
            _stopping = true;
        Judge();
    }

    /// <summary>Closes the drive, or leaves it behind where it does not close within the limit.</summary>
    public async Task CloseAsync(TimeSpan limit)
    {
        LocalFragmentStore? store;
        bool hangs;
        lock (_lock)
        {
            _closing = true;
            hangs = _busySince != 0 && _time.GetElapsedTime(_busySince) >= _settings.SlowLimit;
            (store, _store) = (_store, null);
            if (store is not null)
                _set.Remove(store.DriveId);
        }

        _due.Set();

        // Both within the one limit. The thread may be at a probe of the drive that is being closed; or at the opening of one, which is not worth so long a wait: it can be given up at any moment.
        Task closing = store is null ? Task.CompletedTask : store.DisposeAsync(limit).AsTask();
        TimeSpan patience = hangs ? TimeSpan.Zero : store is null && _settings.SlowLimit < limit ? _settings.SlowLimit : limit;
        try
        {
            await _ended.Task.WaitAsync(patience, _time).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            // The thread hangs with its drive and ends with the process; what it may yet open it closes again.
        }

        await closing.ConfigureAwait(false);
    }

    private void JudgeServing(DriveEngine engine, TimeSpan stepBusy)
    {
        DriveErrorCounts recent = CountRecent(engine.Errors.Counts);
        _health = _health with { RecentErrors = recent };
        TimeSpan busy = engine.BusyFor is var operation && operation > stepBusy ? operation : stepBusy;
        if (busy >= _settings.HangLimit || (_stopping && busy >= _settings.StopHangLimit))
            TakeOut($"it hangs: an operation has been under way for {busy.TotalSeconds:0.#} s");
        else if (recent.IoErrors + recent.PoisonedVolumes >= _settings.MaxErrors)
            TakeOut($"{recent.IoErrors} operations failed and {recent.PoisonedVolumes} volumes were poisoned within {_settings.ErrorWindow}");
        else if (recent.CorruptFragments >= _settings.MaxCorruptFragments)
            TakeOut($"{recent.CorruptFragments} or more fragments were found corrupt within {_settings.ErrorWindow}");
        else if (engine.Index.IsRebuildDue)
            TakeOut("its index is damaged or has missed changes, and is rebuilt from the volumes", atOnce: true);
        else if (engine.IsFull || _noSpace)
            Become(DriveHealthState.Full, "it is full");
        else if (_probeComplaint is not null)
            Become(DriveHealthState.Suspect, $"the probe failed: {_probeComplaint}");
        else if (busy >= _settings.SlowLimit)
            Become(DriveHealthState.Suspect, "it is slow: an operation has been under way for seconds");
        else if (recent.Total > 0)
            Become(DriveHealthState.Suspect, $"{recent.IoErrors} operations failed, {recent.PoisonedVolumes} volumes were poisoned and {recent.CorruptFragments} fragments were corrupt within {_settings.ErrorWindow}");
        else
            Become(DriveHealthState.Healthy, "");
    }

    private DriveErrorCounts CountRecent(DriveErrorCounts now)
    {
        if (_samples.Count == 0 || _time.GetElapsedTime(_samples.Last().Timestamp) >= _settings.ErrorWindow / SamplesPerWindow)
            _samples.Enqueue((_time.GetTimestamp(), now));
        while (_samples.Count > 1 && _time.GetElapsedTime(_samples.ElementAt(1).Timestamp) >= _settings.ErrorWindow)
            _samples.Dequeue();
        return now - _samples.Peek().Counts;
    }

    private void Become(DriveHealthState condition, string reason)
    {
        if (_health.State != condition)
            _health = _health with { State = condition, Since = _time.GetUtcNow() };
        _health = _health with { Reason = reason };
    }

    /// <summary>The drive is served from now on. The lock is held, so that nobody hears of the drive's leaving before its coming.</summary>
    private void TakeIn(LocalFragmentStore store)
    {
        _store = store;
        _openedAt = _time.GetTimestamp();
        if (_busySince != 0)
            _busySince = _openedAt; // recovery may have taken long; that the drive has come through it is no reason to take it out again
        _lastStep = 0;
        _probeComplaint = null;
        _noSpace = false;
        _failedProbes = 0;
        _samples.Clear();
        _samples.Enqueue((_openedAt, default));
        _health = _health with { DriveId = store.DriveId, Statistics = null, RecentErrors = default };
        Become(DriveHealthState.Healthy, "");
        _set.Add(store);
    }

    /// <summary>Takes the drive out of use. The lock is held.</summary>
    private void TakeOut(string reason, bool atOnce = false)
    {
        LocalFragmentStore store = _store!;
        _store = null;
        _set.Remove(store.DriveId);
        if (!store.Fail(reason))
            return;
        _letGo = store.Engine.LetGo.ContinueWith(_ => _claims.Release(store.DriveId, this), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        _failedAt = _time.GetTimestamp();
        if (_time.GetElapsedTime(_openedAt) >= _settings.MaxReopenDelay)
            _relapses = 0;
        double factor = Math.Pow(2, Math.Min(_relapses, 30));
        TimeSpan delay = _settings.ReopenDelay * factor < _settings.MaxReopenDelay ? _settings.ReopenDelay * factor : _settings.MaxReopenDelay;
        _reopenDelay = atOnce && _relapses == 0 ? TimeSpan.Zero : delay;
        _relapses++;
        _lastStep = 0;
        Become(DriveHealthState.Failed, reason);
        StorageMetrics.DrivesFailed.Add(1);
        _services.Events.DriveUnavailable(store.DriveId, reason);
    }

    private void StartThread() => new Thread(Run) { IsBackground = true, Name = "drive probe" }.Start();

    private void Run()
    {
        while (true)
        {
            _due.WaitOne();
            lock (_lock)
            {
                if (_closing)
                    break;
            }

            lock (_folder)
                Step();
            lock (_lock)
                _busySince = 0;
        }

        _ended.SetResult();
    }

    private void Step()
    {
        LocalFragmentStore? store;
        lock (_lock)
        {
            store = _store;
            if (store is null && (!_letGo.IsCompleted || (_failedAt != 0 && _time.GetElapsedTime(_failedAt) < _reopenDelay)))
                return;
        }

        try
        {
            if (store is not null)
                Probe(store.Engine);
            else if (Reopen() is { } refusal)
                SetAside(refusal.Message);
        }
        catch (Exception e)
        {
            // Whatever it is, it came from this drive: its thread goes on, and the process with it.
            if (store is not null)
                Complain(store.Engine, e);
            else
                SetAside(e.Message);
        }
    }

    private void Probe(DriveEngine engine)
    {
        long began = Stopwatch.GetTimestamp();
        try
        {
            if (IdentityComplaint(engine) is { } complaint)
            {
                GiveUp(engine, complaint);
                return;
            }

            if (!engine.Index.Database.IsThere())
            {
                engine.Index.RequireRebuild(new IndexDamagedException($"The index '{engine.Drive.IndexPath}' is gone or has been overwritten."));
                GiveUp(engine, "its index.db is gone or overwritten, and is rebuilt from the volumes", atOnce: true);
                return;
            }

            Span<byte> content = stackalloc byte[ProbeBytes];
            for (int at = 0; at < content.Length; at += sizeof(ulong))
                BitConverter.TryWriteBytes(content[at..], _services.NextRandom());
            engine.Drive.Probe(content);
            DriveStatistics statistics = engine.GetStatistics();
            StorageMetrics.ProbeDuration.Record(Stopwatch.GetElapsedTime(began).TotalSeconds);
            lock (_lock)
            {
                if (_store?.Engine != engine)
                    return;
                (_probeComplaint, _failedProbes, _noSpace) = (null, 0, false);
                _health = _health with { Statistics = statistics };
            }
        }
        catch (IOException e) when (e is NoSpaceException || e.HResult is Posix.ErrorNoSpace or Posix.ErrorQuota)
        {
            lock (_lock)
                _noSpace = _store?.Engine == engine;
        }
        catch (Exception e) when (e is UnauthorizedAccessException || (e is IOException && e.HResult == ErrorReadOnly))
        {
            GiveUp(engine, $"it has become read-only: {e.Message}");
        }
    }

    /// <summary>Null where the path shows the drive that is served from it.</summary>
    private string? IdentityComplaint(DriveEngine engine)
    {
        if (engine.Drive.ReadIdentity() is not { } content)
            return Directory.Exists(Path) ? "its drive.json is gone: the drive was unmounted, or its folder emptied" : "its folder is gone";
        DriveIdentity? identity = DriveIdentity.TryDecode(content, Path);
        if (identity is null)
            return "its drive.json is damaged";
        return identity.DriveId == engine.DriveId && identity.ClusterId == engine.ClusterId ? null : $"its folder shows another drive now: {identity.DriveId} of cluster {identity.ClusterId}";
    }

    private void GiveUp(DriveEngine engine, string reason, bool atOnce = false)
    {
        lock (_lock)
        {
            if (_store?.Engine == engine)
                TakeOut(reason, atOnce);
        }
    }

    private void Complain(DriveEngine engine, Exception cause)
    {
        engine.Errors.CountIoError();
        lock (_lock)
        {
            if (_store?.Engine != engine)
                return;
            _probeComplaint = cause.Message;
            if (++_failedProbes >= MaxFailedProbes)
                TakeOut($"{MaxFailedProbes} probes in a row failed: {cause.Message}");
        }
    }

    /// <summary>Null where the drive is in use again; else why it is not.</summary>
    private StorageException? Reopen()
    {
        // Before anything is opened, because opening makes the folder and its lock.
        if (!Directory.Exists(Path))
            return new DriveIdentityException(Path, "the folder is not there. Is the drive mounted?");
        if (!File.Exists(System.IO.Path.Combine(Path, "drive.json")))
            return new DriveIdentityException(Path, "it has no drive.json. Is the drive mounted? If it is a new one, 's3-admin drive format' makes it a drive.");
        return Open(format: false);
    }

    private StorageException? Open(bool format)
    {
        DriveCandidate candidate = DriveCandidate.Look(Path, () => _open(Path));
        bool isNew = candidate.Identity is null;
        if (candidate.Refusal is null && isNew && format)
            candidate.Format(_clusterId, _services);
        else if (candidate.Refusal is null && isNew)
            candidate.Refuse(new DriveIdentityException(Path, "it has no drive.json."));
        else if (candidate.Refusal is null && candidate.Identity!.ClusterId != _clusterId)
            candidate.Refuse(new DriveIdentityException(Path, $"it belongs to cluster {candidate.Identity.ClusterId}, this is {_clusterId}."));
        if (candidate.Refusal is not null)
            return candidate.Refusal;

        Guid driveId = candidate.Identity!.DriveId;
        if (_claims.TryClaim(driveId, this) is { } other)
        {
            _copyOf = (driveId, other.Path);
            candidate.Refuse(new DriveIdentityException(Path, $"drive {driveId} is here twice: it is a copy of '{other.Path}', or that of it, or has moved from there and is not let go yet."));
            return candidate.Refusal;
        }

        bool inUse = false;
        try
        {
            candidate.Open(_services);
            lock (_lock)
            {
                if (candidate.Refusal is not null || _closing)
                    return candidate.Refusal;
                TakeIn(new LocalFragmentStore(candidate.Engine!));
                inUse = true;
                StorageMetrics.DrivesReopened.Add(1);
                _services.Events.DriveReopened(driveId, Path, _copyOf is { } copy && copy.DriveId == driveId ? copy.Path : null);
                _copyOf = null;
                return null;
            }
        }
        finally
        {
            if (!inUse)
            {
                candidate.Dispose();
                _claims.Release(driveId, this);
            }
        }
    }

    private void SetAside(string reason)
    {
        lock (_lock)
        {
            if (_closing || _health.Reason == reason)
                return;
            Become(DriveHealthState.Failed, reason);
            _services.Events.DriveSetAside(Path, _health.DriveId, reason);
        }
    }
}
