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
    /// <summary>How long a folder may take to show its identity. Recovery has no such limit.</summary>
    private static readonly TimeSpan IdentityTimeout = TimeSpan.FromSeconds(30);

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
    public static async Task<LocalDrives> OpenAsync(StorageOptions options, TimeProvider time, Func<ulong> nextRandom, IStorageEvents events, CancellationToken cancellationToken = default)
    {
        options.Validate();
        Candidate[] candidates = await Task.WhenAll(options.DrivePaths.Select(path => LookAsync(path, options.DirectIo, time, cancellationToken))).ConfigureAwait(false);
        try
        {
            cancellationToken.ThrowIfCancellationRequested();
            var services = new EngineServices(options, time, nextRandom, events, Threaded: true) { DriveCount = candidates.Length };
            Guid clusterId = Admit(candidates, services);
            await Task.WhenAll(candidates.Where(candidate => candidate.Identity is not null && candidate.Refusal is null).Select(candidate => Task.Run(() => candidate.Open(services), CancellationToken.None))).ConfigureAwait(false);
            cancellationToken.ThrowIfCancellationRequested();
            return Finish(clusterId, candidates, events);
        }
        catch
        {
            foreach (Candidate candidate in candidates)
                candidate.Dispose();
            throw;
        }
    }

    /// <summary>Opens over given drives, whose writers move only by <see cref="Step"/> where the services are not threaded. Owns the drives once it returns.</summary>
    internal static LocalDrives Open(IReadOnlyList<IDrive> drives, EngineServices services)
    {
        Candidate[] candidates = [.. drives.Select(drive => Candidate.Look(drive.Path, () => drive))];
        services = services with { DriveCount = drives.Count };
        Guid clusterId = Admit(candidates, services);
        foreach (Candidate candidate in candidates)
        {
            if (candidate.Identity is not null && candidate.Refusal is null)
                candidate.Open(services);
        }

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

    private static async Task<Candidate> LookAsync(string path, bool directIo, TimeProvider time, CancellationToken cancellationToken)
    {
        Task<Candidate> look = Task.Run(() => Candidate.Look(path, () => new FileDrive(path, directIo)), CancellationToken.None);
        try
        {
            return await look.WaitAsync(IdentityTimeout, time, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (e is TimeoutException or OperationCanceledException)
        {
            // A drive that hangs keeps the thread that asked it; should it answer after all, its folder is let go again.
            _ = look.ContinueWith(static late => late.Result.Dispose(), CancellationToken.None, TaskContinuationOptions.OnlyOnRanToCompletion, TaskScheduler.Default);
            return Candidate.Refused(path, new DriveIdentityException(path, $"it does not answer within {IdentityTimeout.TotalSeconds:0} s."));
        }
    }

    /// <summary>Settles which cluster this is, and refuses or formats what is not of it.</summary>
    private static Guid Admit(Candidate[] candidates, EngineServices services)
    {
        Guid clusterId = services.Options.ClusterId
            ?? candidates.Where(candidate => candidate.Identity is not null).GroupBy(candidate => candidate.Identity!.ClusterId).OrderByDescending(group => group.Count()).FirstOrDefault()?.Key
            ?? NewGuid(services.NextRandom);
        var known = new Dictionary<Guid, string>();
        foreach (Candidate candidate in candidates)
        {
            if (candidate.Refusal is not null)
                continue;
            if (candidate.Identity is null)
            {
                candidate.Format(clusterId, services);
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

    private static LocalDrives Finish(Guid clusterId, Candidate[] candidates, IStorageEvents events)
    {
        foreach (Candidate candidate in candidates.Where(candidate => candidate.Refusal is not null))
            events.DriveSetAside(candidate.Path, candidate.Identity?.DriveId, candidate.Refusal!.Message);
        LocalFragmentStore[] drives = [.. candidates.Where(candidate => candidate.Engine is not null).Select(candidate => new LocalFragmentStore(candidate.Engine!))];
        if (drives.Length == 0)
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(candidates[0].Refusal!);
        return new LocalDrives(clusterId, drives, [.. candidates.Where(candidate => candidate.Refusal is not null).Select(candidate => new SetAsideDrive(candidate.Path, candidate.Identity?.DriveId, candidate.Refusal!.Message))]);
    }

    /// <summary>A folder on its way to become a drive. What it is refused for is a <see cref="StorageException"/> that says so to the operator.</summary>
    private sealed class Candidate(string path) : IDisposable
    {
        private IDrive? _drive;

        public string Path => path;

        public DriveIdentity? Identity { get; private set; }

        public StorageException? Refusal { get; private set; }

        public DriveEngine? Engine { get; private set; }

        public static Candidate Refused(string path, StorageException refusal) => new(path) { Refusal = refusal };

        public static Candidate Look(string path, Func<IDrive> open)
        {
            var candidate = new Candidate(path);
            candidate.Try(() =>
            {
                candidate._drive = open();
                if (candidate._drive.ReadIdentity() is { } content)
                    candidate.Identity = DriveIdentity.Decode(content, path);
            });
            return candidate;
        }

        public void Format(Guid clusterId, EngineServices services) => Try(() =>
        {
            if (!services.Options.FormatNewDrives)
                throw new DriveIdentityException(path, "it has no drive.json, and new drives are not to be formatted (FormatNewDrives). Is the drive mounted?");
            if (_drive!.ListVolumes().Count > 0)
                throw new DriveIdentityException(path, "it has volumes but no drive.json.");
            var identity = new DriveIdentity(clusterId, NewGuid(services.NextRandom));
            _drive.WriteIdentity(identity.Encode());
            Identity = identity;
        });

        public void Open(EngineServices services) => Try(() => Engine = DriveEngine.Open(_drive!, Identity!, services));

        public void Refuse(StorageException reason)
        {
            Refusal = reason;
            _drive?.Dispose();
            _drive = null;
        }

        public void Dispose()
        {
            if (Engine is not null)
                Engine.Dispose();
            else
                _drive?.Dispose();
            Engine = null;
            _drive = null;
        }

        private void Try(Action step)
        {
            try
            {
                step();
            }
            catch (StorageException e) when (e is not IndexDamagedException)
            {
                Refuse(e);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or IndexDamagedException)
            {
                Refuse(new DriveIdentityException(path, e.Message));
            }
        }
    }
}
