using System.Text.Json;
using ObjectStore.EmbeddedRuntime.State;
using Orleans;
using Orleans.Runtime;
using Orleans.Storage;

namespace ObjectStore.Silo.Hosting;

/// <summary>
/// Grain state of an Orleans silo in the file that the Embedded runtime keeps it in (docs/formats/grains.md), under the same names and as the same JSON, so that a data folder is good for builds of
/// either. For a silo that is a cluster of one; one that shares its state with others has it in their SQL store.
///
/// A write is synced when its task completes, and is a compare-and-swap on the ETag: of two activations of one grain the one that is behind gets <see cref="InconsistentStateException"/>, and
/// nothing of its own is stored. Thread-safe. The store belongs to the caller.
/// </summary>
internal sealed class OrleansGrainStorage(IGrainStateStore store) : IGrainStorage
{
    // As the Embedded runtime's.
    private static readonly JsonSerializerOptions Json = new() { IncludeFields = true };

    public Task ReadStateAsync<T>(string stateName, GrainId grainId, IGrainState<T> grainState) => ReadStateAsync(stateName, grainId, grainState, CancellationToken.None);

    /// <exception cref="JsonException">What is stored is not such a state.</exception>
    public async Task ReadStateAsync<T>(string stateName, GrainId grainId, IGrainState<T> grainState, CancellationToken cancellationToken)
    {
        GrainStateRecord? stored = await store.ReadAsync(KeyOf(stateName, grainId), cancellationToken);
        grainState.State = stored is { } record ? JsonSerializer.Deserialize<T>(record.Payload, Json)! : Activator.CreateInstance<T>();
        (grainState.ETag, grainState.RecordExists) = (stored?.ETag!, stored is not null);
    }

    public Task WriteStateAsync<T>(string stateName, GrainId grainId, IGrainState<T> grainState) => WriteStateAsync(stateName, grainId, grainState, CancellationToken.None);

    /// <exception cref="InconsistentStateException">Another activation has written or cleared it.</exception>
    public async Task WriteStateAsync<T>(string stateName, GrainId grainId, IGrainState<T> grainState, CancellationToken cancellationToken)
    {
        // Serialised before the first await: what the grain changes later is not in this write.
        byte[] payload = JsonSerializer.SerializeToUtf8Bytes(grainState.State, Json);
        GrainStateResult result = await store.WriteAsync(KeyOf(stateName, grainId), payload, grainState.ETag, cancellationToken);
        if (!result.Succeeded) throw Conflict("write", stateName, grainId, result.ETag, grainState.ETag);
        (grainState.ETag, grainState.RecordExists) = (result.ETag!, true);
    }

    public Task ClearStateAsync<T>(string stateName, GrainId grainId, IGrainState<T> grainState) => ClearStateAsync(stateName, grainId, grainState, CancellationToken.None);

    /// <exception cref="InconsistentStateException">Another activation has written or cleared it.</exception>
    public async Task ClearStateAsync<T>(string stateName, GrainId grainId, IGrainState<T> grainState, CancellationToken cancellationToken)
    {
        GrainStateResult result = await store.ClearAsync(KeyOf(stateName, grainId), grainState.ETag, cancellationToken);
        if (!result.Succeeded) throw Conflict("clear", stateName, grainId, result.ETag, grainState.ETag);
        grainState.State = Activator.CreateInstance<T>();
        (grainState.ETag, grainState.RecordExists) = (null!, false);
    }

    private static GrainStateKey KeyOf(string stateName, GrainId grainId) => new(grainId.Type.ToString()!, stateName, grainId.Key.ToString()!);

    private static InconsistentStateException Conflict(string verb, string stateName, GrainId grainId, string? stored, string? own) =>
        new($"Cannot {verb} state '{stateName}' of grain {grainId}: another activation changed it.", stored ?? "", own ?? "");
}
