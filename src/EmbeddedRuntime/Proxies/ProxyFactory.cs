// A proxy class per grain interface, generated once with Reflection.Emit. Each method of it fills a generated struct with the
// arguments and hands that to GrainReference.Call, which is generic over the struct: the arguments stay typed and unboxed, and a
// call to an idle activation allocates nothing of its own. Interfaces, and the types in their signatures, may be internal to their
// assembly: the generated assembly declares that it ignores their access checks, as System.Reflection.DispatchProxy does.

using System.Collections.Concurrent;
using System.Reflection;
using System.Reflection.Emit;
using ObjectStore.EmbeddedRuntime.Activations;
using Orleans;
using Orleans.Concurrency;
using Orleans.Runtime;

namespace ObjectStore.EmbeddedRuntime.Proxies;

internal delegate GrainReference MakeProxy(GrainRuntime runtime, GrainClass grainClass, string key);

internal static class ProxyFactory
{
    private static readonly ConcurrentDictionary<Type, Lazy<MakeProxy>> Factories = new();

    /// <exception cref="NotSupportedException">The interface has a member that cannot be a grain call.</exception>
    public static MakeProxy For(Type grainInterface) =>
        Factories.GetOrAdd(grainInterface, static type => new Lazy<MakeProxy>(() => Generate(type))).Value;

    private static MakeProxy Generate(Type grainInterface)
    {
        if (!grainInterface.IsInterface || grainInterface.ContainsGenericParameters)
            throw new NotSupportedException($"{grainInterface} is not a grain interface: it must be a closed interface.");
        List<MethodInfo> methods = [.. grainInterface.GetMethods(), .. grainInterface.GetInterfaces().SelectMany(parent => parent.GetMethods())];
        methods.RemoveAll(method => method.IsStatic || !method.IsAbstract);
        foreach (MethodInfo method in methods)
            RequireCallable(method);

        AssemblyBuilder assembly = AssemblyBuilder.DefineDynamicAssembly(new AssemblyName($"GrainProxies.{grainInterface.FullName}"), AssemblyBuilderAccess.Run);
        ModuleBuilder module = assembly.DefineDynamicModule("proxies");
        IgnoreAccessChecks(assembly, module, grainInterface, methods);

        TypeBuilder proxy = module.DefineType(
            "Proxy." + grainInterface.Name, TypeAttributes.Public | TypeAttributes.Sealed | TypeAttributes.Class, typeof(GrainReference), [grainInterface]);
        ConstructorBuilder constructor = DefineConstructor(proxy);
        for (int i = 0; i < methods.Count; i++)
            DefineMethod(module, proxy, methods[i], i);
        DefineFactory(proxy, constructor);
        return proxy.CreateType().GetMethod("Make", BindingFlags.Public | BindingFlags.Static)!.CreateDelegate<MakeProxy>();
    }

    private static void RequireCallable(MethodInfo method)
    {
        string? problem =
            method.IsGenericMethodDefinition ? "generic methods are not supported"
            : method.IsSpecialName ? "a grain interface has methods only"
            : method.GetParameters().Any(parameter => parameter.ParameterType.IsByRef) ? "parameters are passed by value"
            : ShapeOf(method) is null ? "it must return Task, Task<T>, ValueTask or ValueTask<T>"
            : null;
        if (problem is not null)
            throw new NotSupportedException($"{method.DeclaringType}.{method.Name} cannot be a grain call: {problem}.");
    }

    private static (Type Shape, Type Result)? ShapeOf(MethodInfo method)
    {
        Type type = method.ReturnType;
        if (type == typeof(Task))
            return (typeof(TaskShape), typeof(VoidResult));
        if (type == typeof(ValueTask))
            return (typeof(ValueTaskShape), typeof(VoidResult));
        if (!type.IsGenericType)
            return null;
        Type result = type.GetGenericArguments()[0];
        if (type.GetGenericTypeDefinition() == typeof(Task<>))
            return (typeof(TaskShape<>).MakeGenericType(result), result);
        if (type.GetGenericTypeDefinition() == typeof(ValueTask<>))
            return (typeof(ValueTaskShape<>).MakeGenericType(result), result);
        return null;
    }

    private static ConstructorBuilder DefineConstructor(TypeBuilder proxy)
    {
        Type[] parameters = [typeof(GrainRuntime), typeof(GrainClass), typeof(string)];
        ConstructorInfo parent = typeof(GrainReference).GetConstructor(BindingFlags.Instance | BindingFlags.NonPublic, parameters)!;
        ConstructorBuilder constructor = proxy.DefineConstructor(MethodAttributes.Public, CallingConventions.Standard, parameters);
        ILGenerator il = constructor.GetILGenerator();
        il.Emit(OpCodes.Ldarg_0);
        il.Emit(OpCodes.Ldarg_1);
        il.Emit(OpCodes.Ldarg_2);
        il.Emit(OpCodes.Ldarg_3);
        il.Emit(OpCodes.Call, parent);
        il.Emit(OpCodes.Ret);
        return constructor;
    }

    private static void DefineFactory(TypeBuilder proxy, ConstructorBuilder constructor)
    {
        MethodBuilder factory = proxy.DefineMethod(
            "Make", MethodAttributes.Public | MethodAttributes.Static, typeof(GrainReference), [typeof(GrainRuntime), typeof(GrainClass), typeof(string)]);
        ILGenerator il = factory.GetILGenerator();
        il.Emit(OpCodes.Ldarg_0);
        il.Emit(OpCodes.Ldarg_1);
        il.Emit(OpCodes.Ldarg_2);
        il.Emit(OpCodes.Newobj, constructor);
        il.Emit(OpCodes.Ret);
    }

    private static void DefineMethod(ModuleBuilder module, TypeBuilder proxy, MethodInfo method, int index)
    {
        Type[] parameters = [.. method.GetParameters().Select(parameter => parameter.ParameterType)];
        (Type shape, Type result) = ShapeOf(method)!.Value;
        Type invokable = DefineInvokable(module, method, parameters, index);
        typeof(MethodOf<>).MakeGenericType(invokable).GetMethod(nameof(MethodOf<>.Set))!.Invoke(null, [Describe(method)]);

        MethodInfo call = typeof(GrainReference).GetMethod(nameof(GrainReference.Call), BindingFlags.Instance | BindingFlags.NonPublic)!
            .MakeGenericMethod(invokable, method.ReturnType, result, shape);
        MethodBuilder implementation = proxy.DefineMethod(
            $"{method.DeclaringType!.FullName}.{method.Name}",
            MethodAttributes.Private | MethodAttributes.Virtual | MethodAttributes.Final | MethodAttributes.HideBySig | MethodAttributes.NewSlot,
            method.ReturnType,
            parameters);
        ILGenerator il = implementation.GetILGenerator();
        LocalBuilder arguments = il.DeclareLocal(invokable);
        for (int i = 0; i < parameters.Length; i++)
        {
            il.Emit(OpCodes.Ldloca, arguments);
            il.Emit(OpCodes.Ldarg, (short)(i + 1));
            il.Emit(OpCodes.Stfld, invokable.GetField("Argument" + i)!);
        }

        il.Emit(OpCodes.Ldarg_0);
        il.Emit(OpCodes.Ldloc, arguments);
        il.Emit(OpCodes.Call, call);
        il.Emit(OpCodes.Ret);
        proxy.DefineMethodOverride(implementation, method);
    }

    private static Type DefineInvokable(ModuleBuilder module, MethodInfo method, Type[] parameters, int index)
    {
        Type contract = typeof(IInvokable<>).MakeGenericType(method.ReturnType);
        TypeBuilder type = module.DefineType(
            $"Call.{method.Name}.{index}", TypeAttributes.Public | TypeAttributes.Sealed | TypeAttributes.SequentialLayout, typeof(ValueType), [contract]);
        FieldBuilder[] fields = [.. parameters.Select((parameter, i) => type.DefineField("Argument" + i, parameter, FieldAttributes.Public))];
        const MethodAttributes Implements =
            MethodAttributes.Public | MethodAttributes.Virtual | MethodAttributes.Final | MethodAttributes.HideBySig | MethodAttributes.NewSlot;

        MethodBuilder invoke = type.DefineMethod(nameof(IInvokable<>.Invoke), Implements, method.ReturnType, [typeof(object)]);
        ILGenerator il = invoke.GetILGenerator();
        il.Emit(OpCodes.Ldarg_1);
        il.Emit(OpCodes.Castclass, method.DeclaringType!);
        foreach (FieldBuilder field in fields)
        {
            il.Emit(OpCodes.Ldarg_0);
            il.Emit(OpCodes.Ldfld, field);
        }

        il.Emit(OpCodes.Callvirt, method);
        il.Emit(OpCodes.Ret);

        MethodBuilder token = type.DefineMethod("get_" + nameof(IInvokable<>.CancellationToken), Implements, typeof(CancellationToken), []);
        il = token.GetILGenerator();
        int tokenIndex = Array.LastIndexOf(parameters, typeof(CancellationToken));
        if (tokenIndex >= 0)
        {
            il.Emit(OpCodes.Ldarg_0);
            il.Emit(OpCodes.Ldfld, fields[tokenIndex]);
        }
        else
        {
            LocalBuilder none = il.DeclareLocal(typeof(CancellationToken));
            il.Emit(OpCodes.Ldloc, none);
        }

        il.Emit(OpCodes.Ret);
        return type.CreateType();
    }

    private static MethodDescriptor Describe(MethodInfo method) => new(
        method.DeclaringType!.Name,
        method.Name,
        method.IsDefined(typeof(AlwaysInterleaveAttribute)),
        method.IsDefined(typeof(ReadOnlyAttribute)),
        method.IsDefined(typeof(OneWayAttribute)),
        method.GetCustomAttribute<ResponseTimeoutAttribute>()?.Timeout);

    private static void IgnoreAccessChecks(AssemblyBuilder assembly, ModuleBuilder module, Type grainInterface, List<MethodInfo> methods)
    {
        // The runtime honours this attribute by name, wherever it is defined.
        TypeBuilder attribute = module.DefineType(
            "System.Runtime.CompilerServices.IgnoresAccessChecksToAttribute", TypeAttributes.Public | TypeAttributes.Class, typeof(Attribute));
        ConstructorBuilder constructor = attribute.DefineConstructor(MethodAttributes.Public, CallingConventions.Standard, [typeof(string)]);
        ILGenerator il = constructor.GetILGenerator();
        il.Emit(OpCodes.Ldarg_0);
        il.Emit(OpCodes.Call, typeof(Attribute).GetConstructor(BindingFlags.Instance | BindingFlags.NonPublic, [])!);
        il.Emit(OpCodes.Ret);
        ConstructorInfo usable = attribute.CreateType().GetConstructor([typeof(string)])!;

        HashSet<string> names = [typeof(GrainReference).Assembly.GetName().Name!, grainInterface.Assembly.GetName().Name!];
        foreach (MethodInfo method in methods)
        {
            AddAssemblies(method.DeclaringType!, names);
            AddAssemblies(method.ReturnType, names);
            foreach (ParameterInfo parameter in method.GetParameters())
                AddAssemblies(parameter.ParameterType, names);
        }

        foreach (string name in names)
            assembly.SetCustomAttribute(new CustomAttributeBuilder(usable, [name]));
    }

    private static void AddAssemblies(Type type, HashSet<string> names)
    {
        if (type.HasElementType)
        {
            AddAssemblies(type.GetElementType()!, names);
            return;
        }

        names.Add(type.Assembly.GetName().Name!);
        foreach (Type argument in type.GetGenericArguments())
            AddAssemblies(argument, names);
    }
}
