namespace ObjectStore.Benchmarks;

/// <summary>
/// One thing to measure. Every public class that derives from this and has a parameterless constructor is found and run: a new benchmark is one new file.
/// Constructors must be cheap; what costs belongs in <see cref="Setup"/>.
/// </summary>
public abstract class Benchmark
{
    /// <summary>The name, "Area.What".</summary>
    public abstract string Name { get; }

    /// <summary>Bytes that one operation works on, for MB/s; 0 when that means nothing.</summary>
    public virtual long BytesPerOperation => 0;

    /// <summary>Whether this machine can run it; those that it cannot are left out.</summary>
    public virtual bool IsSupported => true;

    /// <summary>Prepares; not measured.</summary>
    public virtual void Setup()
    {
    }

    /// <summary>Does <paramref name="operations"/> operations; measured. Work that is asynchronous is awaited within.</summary>
    public abstract void Run(long operations);

    /// <summary>Undoes <see cref="Setup"/>; not measured.</summary>
    public virtual void Cleanup()
    {
    }
}
