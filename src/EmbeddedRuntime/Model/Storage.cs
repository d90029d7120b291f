namespace Orleans.Core
{
    /// <summary>A stored record of one grain.</summary>
    public interface IStorage
    {
        /// <summary>The version of the record that was last read or written, or null where there is none.</summary>
        string? Etag { get; }

        bool RecordExists { get; }

        Task ClearStateAsync();

        Task WriteStateAsync();

        Task ReadStateAsync();

        Task ClearStateAsync(CancellationToken cancellationToken) => ClearStateAsync();

        Task WriteStateAsync(CancellationToken cancellationToken) => WriteStateAsync();

        Task ReadStateAsync(CancellationToken cancellationToken) => ReadStateAsync();
    }

    public interface IStorage<TState> : IStorage
    {
        TState State { get; set; }
    }
}

namespace Orleans.Runtime
{
    /// <summary>
    /// State of a grain that outlives its activation, read before OnActivateAsync. A write is durable when its task completes, and is a
    /// compare-and-swap on the ETag: one that lost throws <see cref="Orleans.Storage.InconsistentStateException"/> and stores nothing.
    /// </summary>
    public interface IPersistentState<TState> : Orleans.Core.IStorage<TState>;

    /// <summary>Names the record that a constructor parameter of type <see cref="IPersistentState{TState}"/> stands for.</summary>
    [AttributeUsage(AttributeTargets.Parameter)]
    public class PersistentStateAttribute(string stateName, string? storageName = null) : Attribute
    {
        public string StateName { get; } = stateName;

        public string? StorageName { get; } = storageName;
    }
}
