using ObjectStore.Storage.Index;

namespace ObjectStore.Storage.Drives;

/// <summary>A folder on its way to become a drive. What it is refused for is a <see cref="StorageException"/> that says so to the operator.</summary>
internal sealed class DriveCandidate(string path) : IDisposable
{
    private IDrive? _drive;
    private long _recoverySteps;

    public string Path => path;

    public DriveIdentity? Identity { get; private set; }

    public StorageException? Refusal { get; private set; }

    public DriveEngine? Engine { get; private set; }

    /// <summary>Whether the empty folder is to become a drive when it is opened.</summary>
    public bool IsToBeFormatted { get; set; }

    /// <summary>What recovery has looked at, volumes and records: while that grows, it goes on. Any thread.</summary>
    public long RecoverySteps => Interlocked.Read(ref _recoverySteps);

    public static DriveCandidate Refused(string path, StorageException refusal) => new(path) { Refusal = refusal };

    public static DriveCandidate Look(string path, Func<IDrive> open)
    {
        var candidate = new DriveCandidate(path);
        candidate.Try(() =>
        {
            candidate._drive = open();
            if (candidate._drive.ReadIdentity() is { } content)
                candidate.Identity = DriveIdentity.Decode(content, path);
        });
        return candidate;
    }

    /// <summary>Makes the folder a drive of the cluster. The caller has made sure that it is meant to be one.</summary>
    public void Format(Guid clusterId, EngineServices services) => Try(() =>
    {
        if (_drive!.ListVolumes().Count > 0)
            throw new DriveIdentityException(path, "it has volumes but no drive.json.");
        var identity = new DriveIdentity(clusterId, LocalDrives.NewGuid(services.NextRandom));
        _drive.WriteIdentity(identity.Encode());
        Identity = identity;
    });

    public void Open(EngineServices services) => Try(() => Engine = DriveEngine.Open(_drive!, Identity!, services with { OnRecoveryStep = () => Interlocked.Increment(ref _recoverySteps) }));

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
