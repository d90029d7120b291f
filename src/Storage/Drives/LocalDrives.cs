using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Index;

namespace ObjectStore.Storage.Drives;

/// <summary>A folder that was named as a drive and is not used.</summary>
/// <param name="DriveId">Where its identity could be read.</param>
public sealed record SetAsideDrive(string Path, Guid? DriveId, string Reason);

/// <summary>
/// The drives of this process. They are opened at the same time and each by itself: what is wrong with one folder sets that one aside, with the reason, and the others serve.
/// </summary>
public sealed class LocalDrives : IAsyncDisposable
{
    /// <summary>How long a folder may take to show its identity.</summary>
    private static readonly TimeSpan IdentityTimeout = TimeSpan.FromSeconds(30);

    /// <summary>How long an opening that fails or is cancelled waits for the drives that have come up to close.</summary>
    private static readonly TimeSpan LetGoPatience = TimeSpan.FromSeconds(2);

    private bool _disposed;

    private LocalDrives(Guid clusterId, IReadOnlyList<LocalFragmentStore> drives, IReadOnlyList<SetAsideDrive> setAside)
    {
        ClusterId = clusterId;
        Drives = drives;
        SetAside = setAside;
    }

    /// <summary>From the options, or what most of the drives say, or new.</summary>
    public Guid ClusterId { get; }

    /// <summary>In the order of the paths.</summary>
    public IReadOnlyList<LocalFragmentStore> Drives { get; }

    public IReadOnlyList<SetAsideDrive> SetAside { get; }

    /// <summary>Opens every drive, recovers what a crash left behind, and starts the writers.</summary>
    /// <param name="nextRandom">64 random bits a call, thread-safe; ids and volume generations come from it.</param>
    /// <exception cref="StorageOptionsException">A setting is out of range.</exception>
    /// <exception cref="DriveInUseException">No drive can be used; the first is in use by another process.</exception>
    /// <exception cref="DriveIdentityException">No drive can be used, for another reason.</exception>
    public static Task<LocalDrives> OpenAsync(StorageOptions options, TimeProvider time, Func<ulong> nextRandom, IStorageEvents events, CancellationToken cancellationToken = default)
    {
        options.Validate();
        var services = new EngineServices(options, time, nextRandom, events, Threaded: true) { DriveCount = options.DrivePaths.Count };
        return OpenAsync(services, path => new FileDrive(path, options.DirectIo), Timeout.InfiniteTimeSpan, cancellationToken);
    }

    /// <param name="services">What the engines share.</param>
    /// <param name="open">Opens the folder of a path.</param>
    /// <param name="patience">
    /// How long formatting and recovery may take; a drive that has not come up by then is set aside, and closed when it does. While no drive has come up it is waited for as long again, and again,
    /// where recovery goes on: the rebuild of an index reads all of a drive.
    /// </param>
    /// <param name="cancellationToken">Ends the opening, whatever a drive that hangs is at; what has come up is closed.</param>
    internal static async Task<LocalDrives> OpenAsync(EngineServices services, Func<string, IDrive> open, TimeSpan patience, CancellationToken cancellationToken)
    {
        TimeProvider time = services.Time;
        DriveCandidate[] candidates = await Task.WhenAll(services.Options.DrivePaths.Select(path => LookAsync(path, open, time, cancellationToken))).ConfigureAwait(false);
        try
        {
            cancellationToken.ThrowIfCancellationRequested();
            Guid clusterId = Admit(candidates, services);
            await BringUpAsync(candidates, clusterId, services, patience, cancellationToken).ConfigureAwait(false);
            cancellationToken.ThrowIfCancellationRequested();
            return Finish(clusterId, candidates, services.Events);
        }
        catch
        {
            await LetGoAsync(candidates, time).ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Opens over given drives, whose writers move only by <see cref="Step"/> where the services are not threaded. Owns the drives once it returns.</summary>
    internal static LocalDrives Open(IReadOnlyList<IDrive> drives, EngineServices services)
    {
        DriveCandidate[] candidates = [.. drives.Select(drive => DriveCandidate.Look(drive.Path, () => drive))];
        services = services with { DriveCount = drives.Count };
        Guid clusterId = Admit(candidates, services);
        foreach (DriveCandidate candidate in candidates)
            BringUp(candidate, clusterId, services);
        return Finish(clusterId, candidates, services.Events);
    }

    public async ValueTask DisposeAsync()
    {
        if (_disposed)
            return;
        _disposed = true;
        await Task.WhenAll(Drives.Select(drive => drive.DisposeAsync().AsTask())).ConfigureAwait(false);
    }

    /// <summary>One step of every volume writer; false where none had work. For the simulation.</summary>
    internal bool Step()
    {
        bool worked = false;
        foreach (LocalFragmentStore drive in Drives)
            worked |= drive.Engine.Step();
        return worked;
    }

    internal static Guid NewGuid(Func<ulong> nextRandom)
    {
        Span<byte> bytes = stackalloc byte[16];
        BitConverter.TryWriteBytes(bytes, nextRandom());
        BitConverter.TryWriteBytes(bytes[8..], nextRandom());
        bytes[6] = (byte)((bytes[6] & 0x0F) | 0x40);
        bytes[8] = (byte)((bytes[8] & 0x3F) | 0x80);
        return new Guid(bytes, bigEndian: true);
    }

    private static async Task<DriveCandidate> LookAsync(string path, Func<string, IDrive> open, TimeProvider time, CancellationToken cancellationToken)
    {
        Task<DriveCandidate> look = Blocking(() => DriveCandidate.Look(path, () => open(path)));
        try
        {
            return await look.WaitAsync(IdentityTimeout, time, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (e is TimeoutException or OperationCanceledException)
        {
            // A drive that hangs keeps the thread that asked it; should it answer after all, its folder is let go again.
            _ = look.ContinueWith(static late => late.Result.Dispose(), CancellationToken.None, TaskContinuationOptions.OnlyOnRanToCompletion, TaskScheduler.Default);
            return DriveCandidate.Refused(path, new DriveIdentityException(path, $"it does not answer within {IdentityTimeout.TotalSeconds:0} s."));
        }
    }

    /// <summary>Those that have not come up when it returns are refused in the array. A cancellation ends it as the limit does.</summary>
    private static async Task BringUpAsync(DriveCandidate[] candidates, Guid clusterId, EngineServices services, TimeSpan patience, CancellationToken cancellationToken)
    {
        Task[] openings = [.. candidates.Select(candidate => candidate.Refusal is not null ? Task.CompletedTask : Blocking(() =>
        {
            BringUp(candidate, clusterId, services);
            return true;
        }))];
        Task awaited = Task.WhenAll(openings);
        long seen = 0;
        while (true)
        {
            bool hasEnded = await EndsAsync(awaited, patience, services.Time, cancellationToken).ConfigureAwait(false);
            Task[] atIt = [.. openings.Where(opening => !opening.IsCompleted)];
            if (atIt.Length == 0 || cancellationToken.IsCancellationRequested || candidates.Where((_, i) => openings[i].IsCompletedSuccessfully).Any(candidate => candidate.Refusal is null))
                break;
            awaited = Task.WhenAny(atIt);
            if (hasEnded)
                continue; // with a refusal
            long steps = candidates.Sum(candidate => candidate.RecoverySteps);
            if (steps == seen)
                break;
            seen = steps;
            foreach (DriveCandidate candidate in candidates.Where((_, i) => !openings[i].IsCompleted))
                services.Events.RecoveryGoesOn(candidate.Path, candidate.Identity?.DriveId, candidate.RecoverySteps);
        }

        for (int i = 0; i < candidates.Length; i++)
        {
            if (openings[i].IsCompleted)
                continue;

            // As for the identity: the thread stays with the drive, and closes it when it comes up after all.
            DriveCandidate late = candidates[i];
            _ = openings[i].ContinueWith(_ => late.Dispose(), CancellationToken.None, TaskContinuationOptions.LongRunning, TaskScheduler.Default);
            candidates[i] = DriveCandidate.Refused(
                late.Path, new DriveIdentityException(late.Path, $"its {(late.IsToBeFormatted ? "formatting" : "recovery")} has not ended within {patience.TotalSeconds:0.###} s."));
        }

        // What nobody foresaw, once no thread is at a drive that will be let go of.
        foreach (Task opening in openings.Where(opening => opening.IsFaulted))
            await opening.ConfigureAwait(false);
    }

    private static async Task<bool> EndsAsync(Task task, TimeSpan patience, TimeProvider time, CancellationToken cancellationToken)
    {
        try
        {
            await task.WaitAsync(patience, time, cancellationToken).ConfigureAwait(false);
            return true;
        }
        catch (Exception e) when (e is TimeoutException || (e is OperationCanceledException && cancellationToken.IsCancellationRequested))
        {
            return false;
        }
    }

    /// <summary>Closes what has come up, each drive on a thread of its own: one that hangs keeps that, and closes when it answers.</summary>
    private static async Task LetGoAsync(DriveCandidate[] candidates, TimeProvider time)
    {
        Task<bool[]> closing = Task.WhenAll(candidates.Select(candidate => Blocking(() =>
        {
            candidate.Dispose();
            return true;
        })));
        try
        {
            await closing.WaitAsync(LetGoPatience, time).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            // Its lock ends with the process at the latest.
        }
    }

    /// <summary>All that an admitted folder still needs, and that its drive may take any time over.</summary>
    private static void BringUp(DriveCandidate candidate, Guid clusterId, EngineServices services)
    {
        if (candidate.Refusal is null && candidate.IsToBeFormatted)
            candidate.Format(clusterId, services);
        if (candidate.Refusal is null)
            candidate.Open(services);
    }

    /// <summary>On a thread of its own, which a drive that hangs may keep.</summary>
    private static Task<T> Blocking<T>(Func<T> work) => Task.Factory.StartNew(work, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    /// <summary>Settles which cluster this is, and refuses what is not of it. Asks no drive for anything, so that none can hold it up.</summary>
    private static Guid Admit(DriveCandidate[] candidates, EngineServices services)
    {
        Guid clusterId = services.Options.ClusterId
            ?? candidates.Where(candidate => candidate.Identity is not null).GroupBy(candidate => candidate.Identity!.ClusterId).OrderByDescending(group => group.Count()).FirstOrDefault()?.Key
            ?? NewGuid(services.NextRandom);
        var known = new Dictionary<Guid, string>();
        foreach (DriveCandidate candidate in candidates)
        {
            if (candidate.Refusal is not null)
                continue;
            if (candidate.Identity is null && services.Options.FormatNewDrives)
            {
                candidate.IsToBeFormatted = true;
            }
            else if (candidate.Identity is null)
            {
                candidate.Refuse(new DriveIdentityException(candidate.Path, "it has no drive.json. Is the drive mounted? If it is a new one, 's3-admin drive format' makes it a drive, or a start with --format-new-drives."));
            }
            else if (candidate.Identity.ClusterId != clusterId)
            {
                candidate.Refuse(new DriveIdentityException(candidate.Path, $"it belongs to cluster {candidate.Identity.ClusterId}, this is {clusterId}."));
            }
            else if (!known.TryAdd(candidate.Identity.DriveId, candidate.Path))
            {
                candidate.Refuse(new DriveIdentityException(candidate.Path, $"drive {candidate.Identity.DriveId} is here twice: it is a copy of '{known[candidate.Identity.DriveId]}', or that of it."));
            }
        }

        return clusterId;
    }

    private static LocalDrives Finish(Guid clusterId, DriveCandidate[] candidates, IStorageEvents events)
    {
        foreach (DriveCandidate candidate in candidates.Where(candidate => candidate.Refusal is not null))
            events.DriveSetAside(candidate.Path, candidate.Identity?.DriveId, candidate.Refusal!.Message);
        LocalFragmentStore[] drives = [.. candidates.Where(candidate => candidate.Engine is not null).Select(candidate => new LocalFragmentStore(candidate.Engine!))];
        if (drives.Length == 0)
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(candidates[0].Refusal!);
        return new LocalDrives(clusterId, drives, [.. candidates.Where(candidate => candidate.Refusal is not null).Select(candidate => new SetAsideDrive(candidate.Path, candidate.Identity?.DriveId, candidate.Refusal!.Message))]);
    }
}
